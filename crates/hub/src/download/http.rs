//! One request to a server. Redirects are followed here, not by ureq, to see what each says and to keep the token at its host.

use std::io;
use std::time::Duration;

use ureq::http::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, IF_RANGE, LOCATION, RANGE, RETRY_AFTER, USER_AGENT};
use ureq::http::{Method, Request, Response};
use ureq::{Agent, Body, Timeout};

use super::Token;
use crate::Failure;
use crate::address::{is_this_machine, split_url};

const REDIRECTS: usize = 10;
/// For finding a server's number, and for its first answer.
const CONNECT: Duration = Duration::from_secs(20);
/// The longest silence of a server.
const SILENCE: Duration = Duration::from_secs(60);

/// Connections to servers.
pub(super) struct Client {
    web: Agent,
    /// For this machine: past any proxy.
    here: Agent,
}

/// Where to go on in a file, and the ETag of the version that is meant, where that may change.
pub(super) type Resume<'a> = Option<(u64, Option<&'a str>)>;

impl Client {
    pub fn new() -> Self {
        let settings = || {
            let settings = Agent::config_builder().max_redirects(0).http_status_as_error(false);
            let settings = settings.timeout_resolve(Some(CONNECT)).timeout_connect(Some(CONNECT));
            settings.timeout_per_read(Some(SILENCE)).timeout_per_write(Some(SILENCE))
        };
        Self { web: settings().build().into(), here: settings().proxy(None).build().into() }
    }

    /// Asks for a file's headers: those of the answer, or of the redirect to another host.
    pub fn head(&self, url: &str, token: Option<&Token>) -> Result<Response<Body>, Failure> {
        self.send(Method::HEAD, url, token, None)
    }

    /// Asks for a file, or for what comes after `resume`'s bytes if the file has not changed.
    pub fn get(&self, url: &str, token: Option<&Token>, resume: Resume) -> Result<Response<Body>, Failure> {
        self.send(Method::GET, url, token, resume)
    }

    fn send(&self, method: Method, url: &str, mut token: Option<&Token>, resume: Resume) -> Result<Response<Body>, Failure> {
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTS {
            let (origin, _) = split_url(&url).map_err(Failure::Answer)?;
            let response = self.once(&method, &url, token, resume)?;
            if !response.status().is_redirection() {
                return checked(response);
            }
            let next = text(response.headers(), LOCATION.as_str()).and_then(|location| join(&url, location));
            let next = next.ok_or_else(|| Failure::Answer("a redirect to nowhere".to_owned()))?;
            let (there, _) = split_url(&next).map_err(|reason| Failure::Answer(format!("a redirect to {next}: {reason}")))?;
            if origin.starts_with("https:") && there.starts_with("http:") {
                return Err(Failure::Answer(format!("a redirect from https to {there}")));
            }
            if there != origin {
                if method == Method::HEAD {
                    return Ok(response);
                }
                token = None;
            }
            url = next;
        }
        Err(Failure::Answer(format!("more than {REDIRECTS} redirects")))
    }

    fn once(&self, method: &Method, url: &str, token: Option<&Token>, resume: Resume) -> Result<Response<Body>, Failure> {
        let host = url.split_once("://").map_or(url, |(_, rest)| rest.split('/').next().unwrap_or(rest));
        let agent = if is_this_machine(host) { &self.here } else { &self.web };
        let request = Request::builder().method(method).uri(url);
        // Bytes as they are: their number is counted and gone on from.
        let mut request = request.header(ACCEPT_ENCODING, "identity").header(USER_AGENT, concat!("cirio/", env!("CARGO_PKG_VERSION")));
        if let Some(Token(secret)) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {secret}"));
        }
        if let Some((done, etag)) = resume {
            request = request.header(RANGE, format!("bytes={done}-"));
            request = etag.into_iter().fold(request, |request, etag| request.header(IF_RANGE, etag));
        }
        let request = request.body(()).map_err(|error| Failure::Answer(error.to_string()))?;
        agent.run(request).map_err(|error| failure(&error))
    }
}

/// The text of a header.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// An answer with a file or a part of it, or what the status means.
fn checked(response: Response<Body>) -> Result<Response<Body>, Failure> {
    let seconds = || text(response.headers(), RETRY_AFTER.as_str()).and_then(|text| text.trim().parse().ok());
    match response.status().as_u16() {
        200 | 206 => Ok(response),
        401 => Err(Failure::Unauthorised),
        403 => Err(Failure::Forbidden),
        404 | 410 => Err(Failure::NotFound),
        status @ (429 | 500..=599) => Err(Failure::Busy { status, retry_after: seconds().map(Duration::from_secs) }),
        status => Err(Failure::Status(status)),
    }
}

/// What happened on the way: whether no connection came about, or one broke.
fn failure(error: &ureq::Error) -> Failure {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
    let broken = match error {
        ureq::Error::Io(error) => {
            matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | TimedOut | UnexpectedEof)
        }
        ureq::Error::Timeout(phase) => !matches!(phase, Timeout::Resolve | Timeout::Connect),
        ureq::Error::Protocol(_) => true,
        _ => false,
    };
    match broken {
        true => Failure::Broken { done: 0, reason: error.to_string() },
        false => Failure::Unreachable(error.to_string()),
    }
}

/// Where a redirect from `url` leads.
fn join(url: &str, location: &str) -> Option<String> {
    let location = location.split('#').next()?;
    let (origin, path) = split_url(url).ok()?;
    let scheme = origin.split_once("//")?.0;
    let path = path.split('?').next()?;
    let has_scheme = location.split_once("://").is_some_and(|(scheme, _)| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    Some(match location {
        "" => return None,
        _ if has_scheme => location.to_owned(),
        _ if location.starts_with("//") => format!("{scheme}{location}"),
        _ if location.starts_with('/') => format!("{origin}{location}"),
        _ => format!("{origin}/{}{location}", path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_they_say() {
        let from = "https://a.org:8/x/y.pth?q=/z";
        for (location, to) in [
            ("https://b.org/z?a=b", Some("https://b.org/z?a=b")),
            ("//b.org/z", Some("https://b.org/z")),
            ("/z#part", Some("https://a.org:8/z")),
            ("z.pth", Some("https://a.org:8/x/z.pth")),
            ("/z?back=https://b.org", Some("https://a.org:8/z?back=https://b.org")),
            ("", None),
        ] {
            assert_eq!(join(from, location).as_deref(), to, "{location}");
        }
        assert_eq!(join("https://a.org/y", "z").as_deref(), Some("https://a.org/z"));
    }
}
