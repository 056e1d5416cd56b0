//! TLS between the command line and a server: what is taken, and how a refusal reads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use tempfile::TempDir;

use crate::certificates::{Authority, EXPIRES, write};
use crate::process::{Ended, run_with, serve, streamgate};

/// A folder with settings, certificates of server and client, and who signed them.
struct Folder {
    folder: TempDir,
    servers: Authority,
}

impl Folder {
    /// With settings that ask for a certificate of the client.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        servers.sign().write(folder.path(), "server");
        clients.sign().write(folder.path(), "client");
        clients.sign_expired().write(folder.path(), "old");
        write(&folder.path().join("servers.crt"), &servers.certificate());
        write(&folder.path().join("clients.crt"), &clients.certificate());
        let folder = Self { folder, servers };
        folder.configure("client_ca_file", "clients.crt");
        folder
    }

    fn configure(&self, setting: &str, file: &str) {
        let files = [("cert_file", "server.crt"), ("key_file", "server.key"), (setting, file)];
        let mut text = String::from("[[stores]]\nname = 'hot'\nkind = 'memory'\n[server.tls]\n");
        for (setting, file) in files {
            text.push_str(&format!("{setting} = '{}'\n", self.path(file).display()));
        }
        fs::write(self.path("streamgate.toml"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn serve(&self) -> Server {
        let (child, address) = serve(self.folder.path());
        Server { child, address: address.replace("http://", "https://") }
    }
}

struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// `health`, with what the arguments say about TLS; files are of the folder.
fn health(folder: &Path, server: &str, arguments: &[&str]) -> Ended {
    let mut command = streamgate();
    command.current_dir(folder).args(["health", "--server", server]).args(arguments);
    run_with(command, b"")
}

const TRUSTED: [&str; 2] = ["--tls-ca-file", "servers.crt"];
const KNOWN: [&str; 6] = [
    "--tls-ca-file",
    "servers.crt",
    "--tls-cert-file",
    "client.crt",
    "--tls-key-file",
    "client.key",
];

#[test]
fn commands_speak_tls_by_flags_and_by_environment() {
    let folder = Folder::new();
    let server = folder.serve();
    let words = fs::read_to_string(folder.path("server.log")).unwrap();
    assert!(words.contains("with TLS") && words.contains(EXPIRES), "{words}");
    assert!(words.contains(&format!("--server {}", server.address)), "{words}");

    health(folder.folder.path(), &server.address, &KNOWN).well();
    let by_environment = |arguments: &[&str]| {
        let mut command = streamgate();
        command.current_dir(folder.folder.path()).args(arguments);
        command.env("STREAMGATE_SERVER", server.address.replace("127.0.0.1", "localhost"));
        command.env("STREAMGATE_TLS_CA_FILE", "servers.crt");
        command.env("STREAMGATE_TLS_CERT_FILE", "client.crt");
        command.env("STREAMGATE_TLS_KEY_FILE", "client.key");
        command.env("STREAMGATE_TLS_SERVER_NAME", "proxy.example");
        run_with(command, b"")
    };
    by_environment(&["append", "order/1", "OrderPlaced", "{}"]).well();
    assert_eq!(by_environment(&["read", "order/1"]).well().json_lines().len(), 1);
    // A server of its own, whatever the environment says about another one.
    by_environment(&["demo", "--objects", "2", "--writers", "1", "--seconds", "1"]).well();
}

#[test]
fn each_refusal_has_its_exit_code_and_says_what_to_do() {
    let folder = Folder::new();
    let server = folder.serve();
    let address = &*server.address;
    let told = |arguments: &[&str], code: i32, words: &[&str]| {
        let ended = health(folder.folder.path(), address, arguments).with(code);
        for word in words {
            assert!(ended.stderr.contains(word), "{word} in {ended:#?}");
        }
    };
    told(&[], 69, &["SERVER_UNTRUSTED", "UnknownIssuer", "--tls-ca-file"]);
    let named = [&KNOWN[..], &["--tls-server-name", "other.example"]].concat();
    told(&named, 69, &["SERVER_UNTRUSTED", "other.example", "--tls-server-name"]);
    told(&TRUSTED, 77, &["CERTIFICATE_REFUSED", "CertificateRequired", "--tls-cert-file"]);
    let old = ["--tls-cert-file", "old.crt", "--tls-key-file", "old.key"];
    told(&[&TRUSTED[..], &old].concat(), 77, &["CERTIFICATE_REFUSED", "CertificateExpired"]);

    told(&["--tls-ca-file", "server.key"], 64, &["server.key", "no certificate"]);
    told(&["--tls-ca-file", "nowhere"], 66, &["nowhere"]);
    told(&["--tls-cert-file", "client.crt"], 2, &["--tls-key-file"]);
    let mixed = ["--tls-cert-file", "client.crt", "--tls-key-file", "old.key"];
    told(&[&TRUSTED[..], &mixed].concat(), 64, &["old.key"]);
    let plain = health(folder.folder.path(), &address.replace("https", "http"), &TRUSTED).with(2);
    assert!(plain.stderr.contains("--tls-ca-file"), "{plain:#?}");
    let plain = health(folder.folder.path(), &address.replace("https", "http"), &[]);
    assert!([69, 75].contains(&plain.code), "{plain:#?}");
}

#[test]
fn an_append_that_was_refused_with_its_certificate_was_certainly_not_done() {
    let folder = Folder::new();
    let server = folder.serve();
    let mut command = streamgate();
    command.current_dir(folder.folder.path()).args(["append", "order/1", "OrderPlaced", "{}"]);
    command.args(["--server", &server.address, "--output", "json"]).args(TRUSTED);
    let ended = run_with(command, b"").with(77);
    assert_eq!(ended.error()["class"], "unauthenticated", "{ended:#?}");
}

#[test]
fn an_expired_server_is_told_apart() {
    let folder = Folder::new();
    folder.servers.sign_expired().write(folder.folder.path(), "server");
    let server = folder.serve();
    let ended = health(folder.folder.path(), &server.address, &KNOWN).with(69);
    assert!(ended.stderr.to_lowercase().contains("expired"), "{ended:#?}");
    let words = fs::read_to_string(folder.path("server.log")).unwrap();
    assert!(words.contains("clients will refuse the certificate"), "{words}");
}

fn config_check(folder: &Folder, arguments: &[&str]) -> Ended {
    let mut command = streamgate();
    command.args(["config", "check", "--config"]).arg(folder.path("streamgate.toml"));
    command.args(arguments);
    run_with(command, b"")
}

#[test]
fn a_server_starts_with_sound_files_only_and_then_needs_no_permission_to_be_reached() {
    let folder = Folder::new();
    let everywhere = ["--listen", "0.0.0.0:0", "--http-listen", "0.0.0.0:0"];
    config_check(&folder, &everywhere).well();
    config_check(&folder, &["--connect"]).well();

    write(&folder.path("server.key"), &Authority::new("x").sign().key);
    config_check(&folder, &[]).well();
    let path = folder.path("server.key").display().to_string();
    let serving = |arguments: &[&str]| -> Command {
        let mut command = streamgate();
        command.arg("serve").arg("--config").arg(folder.path("streamgate.toml"));
        command.args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]).args(arguments);
        command
    };
    for ended in [config_check(&folder, &["--connect"]), run_with(serving(&[]), b"")] {
        let ended = ended.with(64);
        for part in ["server.tls.key_file", &path, "not the key to"] {
            assert!(ended.stderr.contains(part), "{part} in {ended:#?}");
        }
    }
    // A client's flag would look as if it encrypted the server.
    let ended = run_with(serving(&["--tls-cert-file", "server.crt"]), b"").with(2);
    assert!(ended.stderr.contains("[server.tls]"), "{ended:#?}");
}
