//! A server on this machine that answers as a test says.
#![allow(dead_code, missing_docs)] // each test file uses its part

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

pub struct Server {
    /// `http://127.0.0.1:PORT`.
    pub address: String,
    asked: Arc<Mutex<Vec<Request>>>,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    headers: Vec<(String, String)>,
}

#[derive(Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Bytes of the body that are sent before the connection is closed.
    sent: usize,
}

impl Server {
    /// Answers each request, the first has number 0.
    pub fn start(answer: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, list) = (Arc::new(answer), asked.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, list) = (answer.clone(), list.clone());
                thread::spawn(move || serve(stream.unwrap(), answer.as_ref(), &list));
            }
        });
        Self { address, asked }
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}

/// One request a connection. A client may go away at any time.
fn serve(mut stream: TcpStream, answer: &dyn Fn(usize, &Request) -> Answer, list: &Mutex<Vec<Request>>) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let request = Request { method, path, headers };
    let number = {
        let mut list = list.lock().unwrap();
        list.push(request.clone());
        list.len() - 1
    };
    let answer = answer(number, &request);
    let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", answer.status);
    answer.headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    if !answer.headers.iter().any(|(name, _)| ["Content-Length", "Transfer-Encoding"].contains(&name.as_str())) {
        head += &format!("Content-Length: {}\r\n", answer.body.len());
    }
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(b"\r\n").ok()?;
    if request.method != "HEAD" {
        stream.write_all(&answer.body[..answer.sent]).ok()?;
    }
    Some(())
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), sent: 0 }
    }

    pub fn ok(body: &[u8]) -> Self {
        Self::status(200).with_body(body)
    }

    pub fn with_body(self, body: &[u8]) -> Self {
        Self { body: body.to_owned(), sent: body.len(), ..self }
    }

    pub fn redirect(to: &str) -> Self {
        Self::status(302).header("Location", to)
    }

    /// A file with an ETag, or the range of it that is asked for.
    pub fn file(request: &Request, body: &[u8], etag: &str) -> Self {
        let first = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        let answer = match first.filter(|_| request.header("if-range").is_none_or(|known| known == etag)) {
            Some(first) if first >= body.len() => Self::status(416),
            Some(first) => {
                let range = format!("bytes {first}-{}/{}", body.len() - 1, body.len());
                Self::status(206).with_body(&body[first..]).header("Content-Range", &range)
            }
            None => Self::ok(body),
        };
        answer.header("ETag", etag)
    }

    /// What the hub says of a file, before it sends it or says where it is.
    pub fn of_the_hub(self, commit: &str, etag: &str) -> Self {
        self.header("X-Repo-Commit", commit).header("X-Linked-ETag", &format!("\"{etag}\""))
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The connection breaks off after some bytes of the body.
    pub fn cut(self, sent: usize) -> Self {
        Self { sent, ..self }
    }
}
