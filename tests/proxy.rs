//! Kamailio in front of the bridge: as a carrier's edge that records its route, speaks another transport towards us, and asks by OPTIONS who is
//! there.

use crate::harness::{Bridge, Folder, Process, Setup, free_port, until};
use crate::sipp::Sipp;
use crate::tls::Authority;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};

const CONFIGURATION: &str = r#"
debug=1
log_stderror=yes
children=1
listen=udp:127.0.0.1:{port}
listen=tcp:127.0.0.1:{port}
{tls}
mpath="{modules}"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "dispatcher.so"
modparam("rr", "enable_full_lr", 1)
modparam("tm", "fr_timer", 1000)
modparam("dispatcher", "list_file", "{folder}/list")
modparam("dispatcher", "flags", 2)
modparam("dispatcher", "ds_ping_interval", 1)
modparam("dispatcher", "ds_probing_mode", 1)
modparam("dispatcher", "ds_ping_from", "sip:probe@127.0.0.1")
request_route {
    if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
    if (has_totag()) {
        # As most do it: the route is recorded for the first request alone.
        if (loose_route()) { t_relay(); exit; }
        if (is_method("ACK")) { if (t_check_trans()) t_relay(); exit; }
        sl_send_reply("404", "Not here");
        exit;
    }
    if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }
    if (is_method("OPTIONS") && uri == myself) { sl_send_reply("200", "OK"); exit; }
    record_route();
    if (!ds_select_dst("1", "4")) { sl_send_reply("503", "Nobody is there"); exit; }
    t_on_failure("OTHER");
    t_relay();
}
failure_route[OTHER] {
    if (t_is_canceled()) exit;
    if (t_check_status("503") || (t_branch_timeout() && !t_branch_replied())) {
        if (ds_next_dst()) { t_on_failure("OTHER"); t_relay(); exit; }
    }
}
"#;

/// Kamailio and all its children, ended with the value.
struct Kamailio {
    process: Process,
    address: SocketAddr,
    folder: Folder,
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // Killed at once, it would leave its children.
        let _ = Command::new("kill")
            .args(["-TERM", &self.process.0.id().to_string()])
            .stderr(Stdio::null())
            .status();
        let _ = self.process.0.wait();
    }
}

impl Kamailio {
    /// In front of bridges, each as `URI;parameters`.
    fn start(destinations: &[String], tls: Option<&str>) -> Self {
        let port = free_port();
        let folder = Folder::new();
        let list: String = destinations.iter().map(|d| format!("1 {d} 0\n")).collect();
        folder.file("list", list);
        let modules = format!("/usr/lib/{}-linux-gnu/kamailio/modules/", std::env::consts::ARCH);
        let tls = tls.map_or(String::new(), |lines| {
            format!(
                "enable_tls=yes\nlisten=tls:127.0.0.1:{}\nloadmodule \"{modules}tls.so\"\n{lines}",
                port + 1
            )
        });
        let text = CONFIGURATION
            .replace("{port}", &port.to_string())
            .replace("{tls}", &tls)
            .replace("{modules}", &modules)
            .replace("{folder}", &folder.0.display().to_string());
        let file = folder.file("kamailio.cfg", text);
        let log = std::fs::File::create(folder.0.join("log")).unwrap();
        let child = Command::new("/usr/sbin/kamailio")
            .args(["-DD", "-E", "-m", "32", "-M", "8", "-f"])
            .arg(file)
            .arg("-Y")
            .arg(&folder.0)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("kamailio is installed");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut proxy = Self { process: Process(child), address, folder };
        until("kamailio answers", || {
            let ended = proxy.process.0.try_wait().unwrap();
            assert!(ended.is_none(), "{}", proxy.log());
            let asked = Command::new("sipsak").args(["-s", &format!("sip:{address}")]).output().unwrap();
            asked.status.success().then_some(())
        });
        proxy
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.0.join("log")).unwrap()
    }
}

/// Calls through the proxy: four that the caller ends, and one that the host ends after its hold.
fn calls_pass(proxy: &Kamailio, bridge: &Bridge) {
    Sipp::new("proxied", proxy.address, "confproxy", &[]).args(&["-m", "4", "-l", "4"]).start().passes();
    bridge.await_metric("sotto_calls", 0);
    let removed = Sipp::new("proxied_removed", proxy.address, "confproxy", &[]).args(&["-m", "1"]).start();
    let held = until("it is held", || {
        let rows = bridge.roster("confproxy");
        rows.into_iter().find(|r| r["state"] == "held")
    });
    let path = format!("/v1/conferences/confproxy/participants/{}/remove", held["id"].as_str().unwrap());
    assert_eq!(bridge.ask("POST", &path).0, 204);
    removed.passes();
    bridge.await_metric("sotto_calls", 0);
    // Its probes were answered: it took us for alive, and the log tells of no fault.
    assert!(!proxy.log().contains("ERROR"), "{}", proxy.log());
}

#[test]
fn calls_pass_a_proxy_by_udp_and_the_one_bridge_of_two_that_is_there() {
    let bridge = Bridge::start();
    let dead = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Kamailio::start(&[format!("sip:{}", bridge.sip), format!("sip:{dead}")], None);
    calls_pass(&proxy, &bridge);
}

#[test]
fn calls_pass_a_proxy_that_speaks_tcp_towards_us() {
    let bridge = Bridge::start();
    let proxy = Kamailio::start(&[format!("sip:{};transport=tcp", bridge.tcp)], None);
    calls_pass(&proxy, &bridge);
}

#[test]
fn calls_pass_a_proxy_that_speaks_tls_towards_us() {
    let authority = Authority::new();
    let [cert, key] = authority.sign("bridge", "DNS:localhost,IP:127.0.0.1");
    let ca = authority.ca();
    let sip = format!(
        "tls = {{ cert = \"{}\", key = \"{}\", client_ca = \"{}\" }}",
        cert.display(),
        key.display(),
        ca
    );
    // Both sides prove who they are.
    let setup = Setup {
        also: ", \"tls://127.0.0.1:0\"",
        sip: &sip,
        more: "tls_name = \"proxy.example.com\"",
        ..Setup::default()
    };
    let bridge = Bridge::with(&setup);
    let [cert, key] = authority.sign("proxy", "DNS:proxy.example.com,IP:127.0.0.1");
    let lines: String = [
        ("tls_method", "\"TLSv1.2+\"".to_owned()),
        ("verify_certificate", "1".to_owned()),
        ("certificate", format!("\"{}\"", cert.display())),
        ("private_key", format!("\"{}\"", key.display())),
        ("ca_list", format!("\"{}\"", ca)),
    ]
    .iter()
    .map(|(name, value)| format!("modparam(\"tls\", \"{name}\", {value})\n"))
    .collect();
    let proxy = Kamailio::start(&[format!("sip:{};transport=tls", bridge.also.unwrap())], Some(&lines));
    calls_pass(&proxy, &bridge);
}
