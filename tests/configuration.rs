//! Bad configuration: every fault is told with its line, and the exit code is 2.

use crate::harness::{Folder, sotto, told};
use std::net::{TcpListener, UdpSocket};

/// The exit code and what stderr says.
fn run(command: &str, text: &str) -> (i32, String) {
    let folder = Folder::new();
    let file = folder.file("c.toml", text);
    let output = sotto().args([command, "--config"]).arg(&file).current_dir(&folder.0).output().unwrap();
    let said = told(&output).replace(&file.display().to_string(), "FILE");
    (output.status.code().unwrap(), said)
}

const GOOD: &str =
    "[sip]\nlisten = [\"udp://127.0.0.1:0\"]\n[[trunk]]\nname = \"a\"\nfrom = [\"127.0.0.0/8\"]\n";

#[test]
fn faults_are_told_by_line() {
    assert_eq!(run("check", GOOD).0, 0);
    for (text, line) in [
        (GOOD.replace("listen = [", "listen = 5 # ["), "FILE:2: "),
        (format!("{GOOD}[media]\nports = \"500-400\"\n"), "FILE:7: "),
        (format!("{GOOD}[media]\nports = \"40001-40001\"\n"), "FILE:7: "),
        (format!("{GOOD}[media]\nwidth = 3\n"), "FILE:7: "),
        (GOOD.replace("127.0.0.0/8", "127.0.0.0/99"), "FILE:5: "),
        (GOOD.replace("udp://", "xmpp://"), "FILE:2: "),
        ("[sip\n".into(), "FILE:1: "),
        ("\u{feff}\u{0}".into(), "FILE:1: "),
    ] {
        for command in ["check", "serve"] {
            let (code, said) = run(command, &text);
            assert_eq!(code, 2, "{text}: {said}");
            assert!(said.contains(line), "{text}: {said}");
            assert!(said.contains("expected"), "it says what was expected: {said}");
        }
    }
}

#[test]
fn a_port_in_use_is_told_by_its_address() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let (code, said) = run("serve", &GOOD.replace("127.0.0.1:0", &at));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains(&format!("udp://{at}")) && said.contains("in use"), "{said}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let (code, said) =
        run("serve", &format!("{GOOD}[http]\nlisten = \"{at}\"\nadmin_listen = \"127.0.0.1:0\"\n"));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains(&at) && said.contains("http.listen"), "{said}");
}

#[test]
fn a_faulty_token_file_is_told_by_its_line_and_not_repeated() {
    let tokens = Folder::new();
    let file = tokens.file("tokens", "good-token\nsecret-token role=king\n");
    let text = format!("{GOOD}[http]\ntoken_file = \"{}\"\n", file.display());
    for command in ["check", "serve"] {
        let (code, said) = run(command, &text);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("line 2: expected role=") && !said.contains("secret-token"), "{said}");
    }
}

#[test]
fn a_missing_file_is_told() {
    let output = sotto().args(["serve", "--config", "/nonexistent/c.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be read"));
}
