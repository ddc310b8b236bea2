//! Downloads from a server on this machine that behaves in every way but the good one, and in that.
#![cfg(feature = "download")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cirio_hub::{Downloads, Error, Failure, Presence, Registry, Remote, Source};
use common::server::{Answer, Request, Server};
use common::{file, sha256, small};
use tempfile::TempDir;

const TAG: &str = "\"v1\"";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Settings that keep all in a folder and do not wait long.
fn settings(folder: &TempDir, endpoint: &str) -> Downloads {
    Downloads {
        offline: false,
        cache: folder.path().join("cache"),
        hub: folder.path().join("hub"),
        endpoint: endpoint.to_owned(),
        token: None,
        attempts: 3,
        wait: Duration::from_millis(1),
    }
}

/// A sound file of more than one piece.
fn large() -> Vec<u8> {
    let data: Vec<u8> = (0..200_000u32).map(|at| (at % 251) as u8).collect();
    file(&format!(r#"{{"w":{{"dtype":"U8","shape":[{0}],"data_offsets":[0,{0}]}}}}"#, data.len()), &data)
}

fn remote(address: &str) -> Remote {
    Remote::from(address.parse::<cirio_hub::Address>().unwrap())
}

fn fetch(settings: &Downloads, remote: &Remote) -> Result<PathBuf, Failure> {
    settings.fetch(remote, &mut |_| {}).map_err(|error| {
        let text = error.to_string();
        assert!(text.starts_with(&remote.address.to_string()) && text.lines().count() == 1, "{text}");
        match error {
            Error::Download { failure, .. } => failure,
            other => panic!("{other}"),
        }
    })
}

/// Fetches from a server that answers so; the folder must hold nothing under the name of the file where it fails.
fn fetched(answer: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static) -> (Result<Vec<u8>, Failure>, Vec<Request>) {
    fetched_as(answer, |remote| remote)
}

fn fetched_as(
    answer: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static,
    known: impl Fn(Remote) -> Remote,
) -> (Result<Vec<u8>, Failure>, Vec<Request>) {
    let (server, folder) = (Server::start(answer), tempfile::tempdir().unwrap());
    let remote = known(remote(&format!("{}/a/x.safetensors", server.address)));
    let settings = settings(&folder, "https://nowhere.invalid");
    let found = fetch(&settings, &remote).map(|path| fs::read(path).unwrap());
    assert_eq!(settings.cached(&remote.address).is_some(), found.is_ok());
    if found.is_ok() {
        assert!(files(folder.path()).iter().all(|name| !name.contains(".part")), "{:?}", files(folder.path()));
    }
    (found, server.asked())
}

/// The names of all files below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => names.extend(files(&path)),
            false => names.push(path.file_name().unwrap().to_string_lossy().into_owned()),
        }
    }
    names
}

#[test]
fn a_file_comes_once_and_is_kept() {
    let server = Server::start(|_, request| Answer::file(request, &large(), TAG));
    let folder = tempfile::tempdir().unwrap();
    let (settings, remote) = (settings(&folder, ""), remote(&format!("{}/a/x.safetensors", server.address)));
    let mut seen = Vec::new();
    let path = settings.fetch(&remote, &mut |transfer| seen.push((transfer.done, transfer.total))).unwrap();
    assert_eq!(fs::read(&path).unwrap(), large());
    assert!(path.ends_with("a/x.safetensors") && path.starts_with(folder.path().join("cache")), "{}", path.display());
    let size = large().len() as u64;
    assert_eq!((seen.first(), seen.last()), (Some(&(0, Some(size))), Some(&(size, Some(size)))));
    assert!(seen.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{seen:?}");
    assert_eq!(fetch(&settings, &remote).unwrap(), path);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn what_breaks_off_is_gone_on_with() {
    let (found, asked) = fetched(|number, request| match number {
        0 => Answer::file(request, &large(), TAG).cut(150_000),
        _ => Answer::file(request, &large(), TAG),
    });
    assert_eq!(found.unwrap(), large());
    let rest = (asked[1].header("range").unwrap().to_owned(), asked[1].header("if-range"));
    assert_eq!((asked.len(), rest), (2, ("bytes=150000-".to_owned(), Some(TAG))));
}

/// The first program was killed, or gave up.
#[test]
fn a_later_program_goes_on() {
    let server = Server::start(|number, request| match number {
        0 => Answer::file(request, &large(), TAG).cut(70_000),
        _ => Answer::file(request, &large(), TAG),
    });
    let folder = tempfile::tempdir().unwrap();
    let (once, remote) = (Downloads { attempts: 1, ..settings(&folder, "") }, remote(&format!("{}/x.safetensors", server.address)));
    assert!(matches!(fetch(&once, &remote), Err(Failure::Broken { done: 70_000, .. })));
    assert_eq!(once.cached(&remote.address), None);
    assert_eq!(fs::read(fetch(&once, &remote).unwrap()).unwrap(), large());
    assert_eq!(server.asked()[1].header("range"), Some("bytes=70000-"));
}

#[test]
fn another_version_is_fetched_from_its_beginning() {
    let (found, _) = fetched(|number, request| match number {
        0 => Answer::file(request, &vec![1; 90_000], "\"v0\"").cut(80_000),
        _ => Answer::file(request, &large(), TAG),
    });
    assert_eq!(found.unwrap(), large());
    // A server without ETags, or one that does not know ranges.
    for tag in ["ETag", "X-None"] {
        let (found, asked) = fetched(move |number, _| match number {
            0 => Answer::ok(&large()).header(tag, TAG).cut(80_000),
            _ => Answer::ok(&large()).header(tag, TAG),
        });
        assert_eq!(found.unwrap(), large());
        assert_eq!(asked[1].header("range").is_some(), tag == "ETag");
    }
    // What is there is more than the server has by now.
    let (found, asked) = fetched(|number, request| match number {
        0 => Answer::file(request, &[large(), large()].concat(), TAG).cut(250_000),
        _ => Answer::file(request, &large(), TAG),
    });
    assert_eq!((found.unwrap(), asked.len()), (large(), 3));
}

#[test]
fn sizes_that_lie_are_found_out() {
    let more = (large().len() + 1).to_string();
    let (found, asked) = fetched(move |_, _| Answer::ok(&large()).header("Content-Length", &more));
    assert!(matches!(found, Err(Failure::Broken { .. })), "{found:?}");
    assert_eq!(asked.len(), 3);
    // Fewer bytes are announced than there are: the rest is not read, and the file is not whole.
    let (found, _) = fetched(|_, _| Answer::ok(&large()).header("Content-Length", "100000"));
    assert!(matches!(found, Err(Failure::Unsound(_))), "{found:?}");
    // The wrong range.
    for range in ["bytes 69999-200066/200067", "bytes 70000-9/10", "bytes 70000-70001/*", ""] {
        let (found, _) = fetched(move |number, request| match number {
            0 => Answer::file(request, &large(), TAG).cut(70_000),
            _ => Answer::status(206).header("Content-Range", range),
        });
        assert!(matches!(found, Err(Failure::Answer(_))), "{range}: {found:?}");
    }
}

#[test]
fn a_server_that_sends_too_much_is_cut_off() {
    let tiny = |remote| Remote { mib: Some(0.001), ..remote };
    let (found, _) = fetched_as(|_, _| Answer::ok(&vec![7; 2 << 20]), tiny);
    assert!(matches!(found, Err(Failure::TooLarge { announced: Some(_), .. })), "{found:?}");
    let endless = |_: usize, _: &Request| {
        let piece = [format!("{:x}\r\n", 1 << 20).as_bytes(), &vec![7; 1 << 20], b"\r\n"].concat();
        Answer::ok(&piece.repeat(3)).header("Transfer-Encoding", "chunked")
    };
    let (found, _) = fetched_as(endless, tiny);
    assert!(matches!(found, Err(Failure::TooLarge { announced: None, .. })), "{found:?}");
}

#[test]
fn wrong_bytes_are_thrown_away() {
    let expect = |hash: &str| {
        let (found, _) = fetched_as(
            |_, request| Answer::file(request, &large(), TAG),
            |remote| Remote { sha256_prefix: Some(hash.to_owned()), ..remote },
        );
        found
    };
    assert!(expect(&sha256(&large())[..8]).is_ok());
    let Err(Failure::Hash { expected, found }) = expect("01234567") else { panic!("a wrong hash") };
    assert_eq!((expected.as_str(), found), ("01234567", sha256(&large())));
    // A page that says something, under the file's address.
    let (found, _) = fetched(|_, _| Answer::ok(b"<html>Please log in</html>"));
    assert!(matches!(found, Err(Failure::Unsound(_))), "{found:?}");
}

#[test]
fn refusals_are_said_at_once() {
    for (status, words) in [(401, "HF_TOKEN"), (403, "403"), (404, "no such file"), (400, "status 400"), (304, "redirect to nowhere")] {
        let (found, asked) = fetched(move |_, _| Answer::status(status));
        let error = found.unwrap_err().to_string();
        assert!(error.contains(words), "{status}: {error}");
        assert_eq!(asked.len(), 1);
    }
}

#[test]
fn a_busy_server_is_asked_again() {
    let (found, asked) = fetched(|number, request| match number {
        0 => Answer::status(429).header("Retry-After", "0"),
        1 => Answer::status(503),
        _ => Answer::file(request, &large(), TAG),
    });
    assert_eq!((found.unwrap(), asked.len()), (large(), 3));
    let (found, asked) = fetched(|_, _| Answer::status(500));
    assert!(matches!(found, Err(Failure::Busy { status: 500, .. })), "{found:?}");
    assert_eq!(asked.len(), 3);
}

#[test]
fn a_server_that_is_not_there_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [&format!("http://{free}/x.safetensors"), "https://nowhere.invalid/x.safetensors"] {
        let found = fetch(&settings(&folder, ""), &remote(address));
        assert!(matches!(found, Err(Failure::Unreachable(_))), "{found:?}");
    }
}

#[test]
fn redirects_are_followed_so_far() {
    let there = Server::start(|_, request| Answer::file(request, &large(), TAG));
    let address = there.address.clone();
    let (found, _) = fetched(move |_, request| match request.path.as_str() {
        "/a/x.safetensors" => Answer::redirect("y?z=1"),
        "/a/y?z=1" => Answer::redirect("/b"),
        _ => Answer::redirect(&format!("{address}/z?signed=yes#part")),
    });
    assert_eq!((found.unwrap(), there.asked()[0].path.as_str()), (large(), "/z?signed=yes"));
    for (to, words) in [
        ("/again", "more than 10 redirects"),
        ("http://example.com/x", "plain http"),
        ("ftp://host/x", "neither https nor http"),
        ("file:///x", "no host"),
    ] {
        let (found, _) = fetched(move |_, _| Answer::redirect(to));
        let error = found.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// A hub that sends the bytes from another host, as the real one does.
fn hub(content: Vec<u8>) -> (Server, Server) {
    let etag = sha256(&content);
    let size = content.len().to_string();
    let there = Server::start(move |_, request| Answer::file(request, &content, TAG));
    let address = there.address.clone();
    let hub = Server::start(move |_, request| match request.path.as_str() {
        "/me/net/resolve/main/sub/x.safetensors" => {
            Answer::redirect(&format!("{address}/bytes")).of_the_hub(COMMIT, &etag).header("X-Linked-Size", &size)
        }
        "/me/old/resolve/main/sub/x.safetensors" => Answer::redirect("/me/net/resolve/main/sub/x.safetensors"),
        _ => Answer::status(404),
    });
    (hub, there)
}

#[test]
fn the_hubs_files_lie_as_its_own_tools_lay_them() {
    let ((hub, there), folder) = (hub(large()), tempfile::tempdir().unwrap());
    let settings = settings(&folder, &format!("{}/", hub.address));
    let net = remote("hf://me/net/sub/x.safetensors");
    let path = fetch(&settings, &net).unwrap();
    let repo = folder.path().join("hub/models--me--net");
    assert_eq!(path, repo.join("snapshots").join(COMMIT).join("sub/x.safetensors"));
    assert_eq!(fs::read(repo.join("blobs").join(sha256(&large()))).unwrap(), large());
    assert_eq!(fs::read(&path).unwrap(), large());
    assert_eq!(fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
    #[cfg(unix)]
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("../../../blobs").join(sha256(&large())));
    assert_eq!((hub.asked().len(), there.asked().len()), (2, 1));

    // By its commit it is there too, and so is a repository that moved.
    assert_eq!(settings.cached(&format!("hf://me/net@{COMMIT}/sub/x.safetensors").parse().unwrap()), Some(path.clone()));
    assert_eq!(fetch(&settings, &net).unwrap(), path);
    fetch(&settings, &remote("hf://me/old/sub/x.safetensors")).unwrap();
    let missing = fetch(&settings, &remote("hf://me/none/x.safetensors"));
    assert!(matches!(missing, Err(Failure::NotFound)), "{missing:?}");
}

#[test]
fn the_token_stays_with_the_hub() {
    let ((hub, there), folder) = (hub(large()), tempfile::tempdir().unwrap());
    let settings = Downloads { token: Some("hf_secret".to_owned().into()), ..settings(&folder, &hub.address) };
    assert!(!format!("{settings:?}").contains("hf_secret"));
    fetch(&settings, &remote("hf://me/old/sub/x.safetensors")).unwrap();
    assert!(hub.asked().len() >= 4 && hub.asked().iter().all(|request| request.header("authorization") == Some("Bearer hf_secret")));
    assert_eq!(there.asked().len(), 1);
    assert_eq!(there.asked()[0].header("authorization"), None);
    // Nor is it told to the hub's own host under a plain address.
    fetch(&settings, &remote(&format!("{}/me/net/resolve/main/sub/x.safetensors", hub.address))).unwrap();
    assert_eq!(hub.asked().last().unwrap().header("authorization"), None);
    // Nor to anybody unencrypted.
    let found = fetch(&Downloads { endpoint: "http://example.com".to_owned(), ..settings }, &remote("hf://a/b/c.safetensors"));
    assert!(found.as_ref().is_err_and(|error| error.to_string().contains("HF_ENDPOINT is `http://example.com`")), "{found:?}");
}

/// The hub's files are named by their content: no ETag is needed to go on.
#[test]
fn the_hubs_files_are_gone_on_with() {
    let server = Server::start(|number, request| {
        let rest = || format!("bytes 70000-{}/{}", large().len() - 1, large().len());
        let answer = match number {
            0 => return Answer::status(429).header("Retry-After", "0"),
            2 => Answer::ok(&large()).cut(70_000),
            _ if request.header("range").is_some() => Answer::status(206).with_body(&large()[70_000..]).header("Content-Range", &rest()),
            _ => Answer::ok(&large()),
        };
        answer.of_the_hub(COMMIT, &sha256(&large()))
    });
    let folder = tempfile::tempdir().unwrap();
    let path = fetch(&settings(&folder, &server.address), &remote("hf://a/b/c.safetensors")).unwrap();
    assert_eq!(fs::read(path).unwrap(), large());
    let asked = server.asked();
    let asked: Vec<_> = asked.iter().map(|request| (request.method.as_str(), request.header("range"))).collect();
    assert_eq!(asked, [("HEAD", None), ("HEAD", None), ("GET", None), ("GET", Some("bytes=70000-"))]);
}

/// What the hub says is not trusted to name files.
#[test]
fn answers_that_are_no_hubs_are_refused() {
    let answer = |commit: &'static str, etag: &'static str| {
        let server = Server::start(move |_, _| Answer::ok(&large()).of_the_hub(commit, etag));
        let folder = tempfile::tempdir().unwrap();
        fetch(&settings(&folder, &server.address), &remote("hf://a/b/c.safetensors"))
    };
    for (commit, etag) in [("../../x", "abc"), ("", "abc"), (COMMIT, "../../x"), (COMMIT, "")] {
        let found = answer(commit, etag);
        assert!(matches!(found, Err(Failure::Answer(_))), "{commit} {etag}: {found:?}");
    }
    assert!(answer(COMMIT, "abc").is_ok(), "a small file has git's hash");
    let other = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    assert!(matches!(answer(COMMIT, other), Err(Failure::Hash { .. })));
    // The hub announced another size than the host that sends.
    let server = Server::start(|_, _| Answer::ok(&large()).of_the_hub(COMMIT, "abc").header("X-Linked-Size", "5"));
    let folder = tempfile::tempdir().unwrap();
    let found = fetch(&settings(&folder, &server.address), &remote("hf://a/b/c.safetensors"));
    assert!(matches!(found, Err(Failure::Answer(_))), "{found:?}");
}

#[test]
fn offline_finds_what_is_kept_and_nothing_else() {
    let ((hub, _there), folder) = (hub(large()), tempfile::tempdir().unwrap());
    let online = settings(&folder, &hub.address);
    let offline = Downloads { offline: true, ..online.clone() };
    let net = remote("hf://me/net/sub/x.safetensors");
    assert!(matches!(fetch(&offline, &net), Err(Failure::Offline)));
    assert!(hub.asked().is_empty());
    let path = fetch(&online, &net).unwrap();
    let asked = hub.asked().len();
    assert_eq!((fetch(&offline, &net).unwrap(), hub.asked().len()), (path, asked));
}

#[test]
fn two_at_once_fetch_one_file() {
    let server = Server::start(|_, request| {
        std::thread::sleep(Duration::from_millis(100));
        Answer::file(request, &large(), TAG)
    });
    let folder = tempfile::tempdir().unwrap();
    let (settings, remote) = (settings(&folder, ""), remote(&format!("{}/x.safetensors", server.address)));
    std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| fs::read(fetch(&settings, &remote).unwrap()).unwrap()));
        both.into_iter().for_each(|one| assert_eq!(one.join().unwrap(), large()));
    });
    assert_eq!(server.asked().len(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_called_so() {
    let server = Server::start(|_, request| Answer::file(request, &large(), TAG));
    let folder = tempfile::tempdir().unwrap();
    let (settings, remote) = (settings(&folder, ""), remote(&format!("{}/x.safetensors", server.address)));
    let place = settings.cache.join(server.address.trim_start_matches("http://").replace(':', "_"));
    fs::create_dir_all(&place).unwrap();
    std::os::unix::fs::symlink("/dev/full", place.join("x.safetensors.part")).unwrap();
    let found = fetch(&settings, &remote);
    assert!(found.as_ref().is_err_and(|error| error.to_string().contains("the disk is full")), "{found:?}");
    assert_eq!(settings.cached(&remote.address), None);
}

/// A registry with one entry that has these sources.
fn registry(folder: &TempDir, sources: &[String], endpoint: &str) -> Registry {
    let text = common::entry("lenet5", "mnist", "x", b"");
    let (begin, end) = (text.find("file =").unwrap(), text.find("licence").unwrap());
    let text = format!("{}sources = [{}]\n{}", &text[..begin], sources.join(", "), &text[end..]);
    fs::write(folder.path().join("manifest.toml"), text).unwrap();
    Registry::open(folder.path()).unwrap().with_downloads(settings(folder, endpoint))
}

#[test]
fn entries_come_from_the_first_source_that_has_them() {
    let web = Server::start(|_, request| match request.path.as_str() {
        "/x.safetensors" => Answer::file(request, &small(1), TAG),
        _ => Answer::status(404),
    });
    let folder = tempfile::tempdir().unwrap();
    let source = |file: &str| format!("{{ address = \"{}/{file}\", sha256 = \"{}\" }}", web.address, sha256(&small(1)));
    let gone = "{ address = \"hf://me/gone/y.safetensors\" }".to_owned();
    let registry = registry(&folder, &[gone.clone(), source("x.safetensors")], &web.address);
    assert_eq!(registry.presence(&registry.entries()[0]), Presence::Remote);
    let found = registry.find(None, "lenet5/mnist").unwrap();
    assert_eq!((found.name().as_str(), found.source, found.classes.unwrap().len()), ("lenet5/mnist", Source::Registry, 2));
    assert_eq!(fs::read(&found.path).unwrap(), small(1));
    assert_eq!(registry.presence(&registry.entries()[0]), Presence::Cached);
    let asked = web.asked().len();
    let offline = registry.clone().with_downloads(Downloads { offline: true, ..settings(&folder, "") });
    assert_eq!(offline.find(None, "mnist").unwrap().path, found.path);
    assert_eq!(web.asked().len(), asked);
    // The address of a source is as good as the name.
    let known = registry.find(None, &format!("{}/x.safetensors", web.address)).unwrap();
    assert_eq!((known.name().as_str(), known.path), ("lenet5/mnist", found.path));

    let empty = tempfile::tempdir().unwrap();
    let error = self::registry(&empty, &[gone.clone(), source("z.safetensors")], &web.address).find(None, "mnist").unwrap_err().to_string();
    assert!(
        error.starts_with("lenet5/mnist cannot be fetched: hf://me/gone/y.safetensors: ") && error.contains("z.safetensors: "),
        "{error}"
    );
    let offline = self::registry(&empty, &[gone], "").with_downloads(Downloads { offline: true, ..settings(&empty, "") });
    let error = offline.find(None, "mnist").unwrap_err().to_string();
    assert!(error.contains("it is not here, and downloads are off"), "{error}");
}

#[test]
fn an_address_is_as_good_as_a_path() {
    let metadata = serde_json::json!({ "__metadata__": { "model": "lenet5", "classes": "[\"a\"]" } }).to_string();
    let content = file(&metadata, b"");
    let ((hub, _there), folder) = (hub(content), tempfile::tempdir().unwrap());
    let registry = Registry::empty().with_downloads(settings(&folder, &hub.address));
    let found = registry.find(None, "hf://me/net/sub/x.safetensors").unwrap();
    assert_eq!((found.model.as_deref(), found.classes, found.source), (Some("lenet5"), Some(vec!["a".to_owned()]), Source::Network));
}
