//! Weights that are fetched: by their address, by the environment of the hub's tools, and not at all.
#![cfg(feature = "download")]

mod common;
#[path = "../../hub/tests/common/server.rs"]
mod server;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use common::{cirio, failed, root, text};
use serde_json::Value;
use server::{Answer, Server};

const PICTURE: &str = "examples/images/digit-7.png";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The command with its caches in a folder.
fn here(folder: &Path, endpoint: &str) -> Command {
    let mut command = cirio();
    for name in ["HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "XDG_CACHE_HOME"] {
        command.env_remove(name);
    }
    command.env("CIRIO_CACHE", folder.join("plain")).env("HF_HOME", folder.join("hf")).env("HF_ENDPOINT", endpoint);
    command
}

fn weights() -> Vec<u8> {
    fs::read(root().join("weights/lenet5-mnist.safetensors")).expect("shipped weights")
}

/// A hub that has the digits' weights for those with a token.
fn hub() -> Server {
    Server::start(|_, request| match (request.path.as_str(), request.header("authorization")) {
        ("/me/digits/resolve/v2/model.safetensors", Some("Bearer hf_secret")) => {
            Answer::file(request, &weights(), "\"v\"").of_the_hub(COMMIT, "abc")
        }
        ("/me/digits/resolve/v2/model.safetensors", _) => Answer::status(401),
        _ => Answer::status(404),
    })
}

fn predict(mut command: Command, weights: &str, more: &[&str]) -> Output {
    let arguments = ["predict", PICTURE, "--model", "lenet5", "--top", "1", "--json", "--weights", weights];
    command.args(arguments).args(more).output().expect("the command starts")
}

fn class(output: Output) -> String {
    let document: Value = serde_json::from_str(&text(output)).expect("a document");
    document["predictions"][0]["classes"][0]["name"].as_str().expect("a name").to_owned()
}

#[test]
fn weights_of_the_hub_are_fetched_once() {
    let (hub, folder) = (hub(), tempfile::tempdir().expect("a folder"));
    let spec = "hf://me/digits@v2/model.safetensors";
    failed(&predict(here(folder.path(), &hub.address), spec, &["--offline"]), 1, &[spec, "downloads are off"]);
    let mut off = here(folder.path(), &hub.address);
    off.env("HF_HUB_OFFLINE", "1");
    failed(&predict(off, spec, &[]), 1, &[spec, "downloads are off"]);
    assert!(hub.asked().is_empty());
    failed(&predict(here(folder.path(), &hub.address), spec, &[]), 1, &[spec, "401", "HF_TOKEN"]);

    let mut known = here(folder.path(), &hub.address);
    known.env("HF_TOKEN", "hf_secret");
    let output = predict(known, spec, &[]);
    assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("fetching {spec}")));
    assert_eq!(class(output), "7");
    assert!(folder.path().join("hf/hub/models--me--digits/refs/v2").is_file());
    let asked = hub.asked().len();
    assert_eq!(class(predict(here(folder.path(), &hub.address), spec, &["--offline"])), "7");
    assert_eq!(hub.asked().len(), asked);
    failed(&predict(here(folder.path(), &hub.address), "hf://me/none/a.safetensors", &[]), 1, &["hf://me/none/a.safetensors", "404"]);
}

#[test]
fn plain_addresses_have_their_own_cache() {
    let server = Server::start(|_, request| Answer::file(request, &weights(), "\"v\""));
    let folder = tempfile::tempdir().expect("a folder");
    let spec = format!("{}/nets/digits.safetensors", server.address);
    assert_eq!(class(predict(here(folder.path(), ""), &spec, &[])), "7");
    let place = server.address.trim_start_matches("http://").replace(':', "_");
    assert!(folder.path().join("plain").join(place).join("nets/digits.safetensors").is_file());
    failed(&predict(here(folder.path(), ""), "http://example.com/a.safetensors", &[]), 1, &["plain http is for this machine only"]);
}

/// One process has the lock and waits for its server; the other waits for the lock. When the first is killed, the other goes on
/// where it was.
#[test]
fn of_two_processes_one_waits() {
    let server = Server::start(|number, request| match number {
        0 => Answer::file(request, &weights(), "\"v\"").cut(100_000),
        1 => Answer::status(429).header("Retry-After", "60"),
        _ => Answer::file(request, &weights(), "\"v\""),
    });
    let folder = tempfile::tempdir().expect("a folder");
    let spec = format!("{}/digits.safetensors", server.address);
    let start = || {
        let mut command = here(folder.path(), "");
        let arguments = ["predict", PICTURE, "--model", "lenet5", "--top", "1", "--json", "--weights", &spec];
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts")
    };
    let mut first = start();
    while server.asked().len() < 2 {
        thread::sleep(Duration::from_millis(10));
    }
    let second = start();
    let place = folder.path().join("plain").join(server.address.trim_start_matches("http://").replace(':', "_"));
    assert!(place.join("digits.safetensors.part").is_file() && !place.join("digits.safetensors").exists());
    first.kill().expect("it runs");
    first.wait().expect("it ends");
    assert_eq!(class(second.wait_with_output().expect("it ends")), "7");
    let asked = server.asked();
    assert_eq!((asked.len(), asked[2].header("range")), (3, Some("bytes=100000-")));
}

#[test]
fn proxies_are_asked_for_other_machines() {
    let (proxy, folder) = (Server::start(|_, _| Answer::status(502)), tempfile::tempdir().expect("a folder"));
    let mut command = here(folder.path(), "");
    command.env("HTTPS_PROXY", &proxy.address).env_remove("ALL_PROXY").env_remove("NO_PROXY").env_remove("no_proxy");
    let output = predict(command, "https://weights.invalid/a.safetensors", &[]);
    failed(&output, 1, &["https://weights.invalid/a.safetensors: the server cannot be reached"]);
    assert_eq!((proxy.asked()[0].method.as_str(), proxy.asked()[0].path.as_str()), ("CONNECT", "weights.invalid:443"));
}

/// `list` and `info` say what there is and fetch nothing.
#[test]
fn entries_are_shown_before_they_are_fetched() {
    let server = Server::start(|_, request| Answer::file(request, &weights(), "\"v\""));
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = fs::read_to_string(root().join("weights/manifest.toml")).expect("the manifest");
    let entry = manifest.split("[[weights]]").find(|entry| entry.contains("lenet5-mnist.safetensors")).expect("an entry");
    let source = format!("sources = [{{ address = \"{}/x.safetensors\", sha256_prefix = \"b7893680\", mib = 0.2 }}]", server.address);
    let kept = entry.lines().filter(|line| !["file =", "bytes =", "sha256 ="].iter().any(|key| line.starts_with(key)));
    let text: Vec<&str> = ["[[weights]]", &source].into_iter().chain(kept).collect();
    fs::write(folder.path().join("manifest.toml"), text.join("\n")).expect("a manifest");
    let run = |arguments: &[&str]| {
        let mut command = here(folder.path(), "");
        command.env("CIRIO_WEIGHTS", folder.path()).args(arguments).output().expect("the command starts")
    };
    let document = |arguments: &[&str]| serde_json::from_str::<Value>(&common::text(run(arguments))).expect("a document");
    let listed = || document(&["list", "--json"])["models"][0]["weights"][0].clone();

    assert_eq!((&listed()["state"], &listed()["mib"], &listed()["bytes"]), (&"remote".into(), &0.2.into(), &Value::Null));
    let list = common::text(run(&["list"]));
    assert!(list.contains("remote") && list.contains("0.2 MiB") && list.contains(&server.address), "{list}");
    assert_eq!(document(&["info", "lenet5/mnist", "--json"])["state"], "remote");
    assert!(common::text(run(&["info", "lenet5/mnist"])).contains("to be fetched when it is used"));
    assert!(server.asked().is_empty());

    assert!(common::text(run(&["predict", PICTURE, "--weights", "mnist", "--top", "1"])).contains('7'));
    assert_eq!((listed()["state"].as_str(), server.asked().len()), (Some("cached"), 1));
    assert!(common::text(run(&["info", "lenet5/mnist"])).contains("x.safetensors"));
}
