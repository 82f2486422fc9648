//! Starting a bridge and its peers, asking its API, watching its feed, and telling one voice from another.

use media::Rate;
use serde_json::Value;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::{self, WebSocket, client::IntoClientRequest};

pub const TOKEN: &str = "a-token-for-tests";
/// Nothing here takes longer; a test that would is wrong.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A folder that goes with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("sotto-test-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process of ours, ended with the value.
pub struct Process(pub Child);

impl Process {
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(status.success(), "kill {signal}");
    }

    /// Waits for its end, but not for ever.
    pub fn wait(&mut self) -> i32 {
        self.wait_within(PATIENCE)
    }

    /// The same for what lasts longer by its nature.
    pub fn wait_within(&mut self, patience: Duration) -> i32 {
        until_within(patience, "the process ends", || self.0.try_wait().unwrap()).code().unwrap_or(-1)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A word of `/proc/PID/status`.
pub fn status_of(pid: u32, key: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|l| Some(l.strip_prefix(key)?.split_whitespace().next()?.to_owned()))
}

/// Looks again and again for something that another process does and that nothing announces.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look)
}

pub fn until_within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < patience, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port that is free by UDP and TCP, outside of what the system gives to who wants any: so that it stays free until it is taken.
pub fn free_port() -> u16 {
    let free = |port: u16| {
        let udp = std::net::UdpSocket::bind(("127.0.0.1", port)).ok()?;
        let tcp = std::net::TcpListener::bind(("127.0.0.1", port)).ok()?;
        drop((udp, tcp));
        Some(port)
    };
    until("a free port", || free(rand::random_range(61_000..65_000)))
}

pub fn sotto() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sotto"))
}

/// A running bridge.
pub struct Bridge {
    pub process: Process,
    pub sip: SocketAddr,
    /// TCP, like `sip` for UDP.
    pub tcp: SocketAddr,
    /// The first of [`Setup::also`].
    pub also: Option<SocketAddr>,
    /// All of them: protocol and address.
    pub listeners: Vec<(String, SocketAddr)>,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    pub folder: Folder,
}

/// What is different from [`Bridge::start`]'s configuration.
pub struct Setup<'a> {
    pub listen: &'a str,
    /// More listeners, each with a comma in front.
    pub also: &'a str,
    pub trunk: &'a str,
    pub media: &'a str,
    /// Lines of `[sip]`.
    pub sip: &'a str,
    /// Lines of `[http]`.
    pub http: &'a str,
    /// Where the API listens; 0: anywhere.
    pub http_port: u16,
    pub more: &'a str,
    /// Lines of the token file besides the usual one.
    pub tokens: &'a str,
    /// System calls that the kernel refuses to the bridge, by a seccomp filter, as containers' filters do.
    pub denied: &'static [libc::c_long],
    /// Levels of its log.
    pub log: &'static str,
    /// It runs as nobody, when the test runs as root.
    pub nobody: bool,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1",
            also: "",
            trunk: "127.0.0.0/8",
            media: "",
            sip: "",
            http: "",
            http_port: 0,
            more: "",
            tokens: "",
            denied: &[],
            log: "info",
            nobody: false,
        }
    }
}

impl Bridge {
    pub fn start() -> Self {
        Self::with(&Setup::default())
    }

    pub fn with(setup: &Setup<'_>) -> Self {
        let folder = Folder::new();
        let token = folder.file("token", format!("{TOKEN}\n{}", setup.tokens));
        let Setup { listen, also, trunk, media, sip, http, http_port, more, .. } = setup;
        let config = folder.file(
            "bridge.toml",
            format!(
                "[node]\ndata_dir = \"{}\"\n[sip]\nlisten = [\"udp://{listen}:0\", \"tcp://{listen}:0\"{also}]\n{sip}\n[media]\naddress = \"{listen}\"\n{media}\n\
                 [http]\nlisten = \"127.0.0.1:{http_port}\"\nadmin_listen = \"127.0.0.1:0\"\ntoken_file = \"{}\"\n{http}\n[conferences]\nadhoc_prefix = \"conf\"\ncapacity = 5000\n\
                 [[trunk]]\nname = \"test\"\nfrom = [\"{trunk}\"]\n{more}\n",
                folder.0.display(),
                token.display()
            ),
        );
        let log = std::fs::File::create(folder.0.join("log")).unwrap();
        let mut command = sotto();
        command.args(["serve", "--drain-timeout", "10", "--config"]).arg(config);
        command.env("RUST_LOG", setup.log);
        setup.confine(&mut command, &folder);
        let output = std::fs::File::create(folder.0.join("output")).unwrap();
        let mut process = Process(command.stdout(output).stderr(log).spawn().unwrap());
        let line = until("it is ready or ends", || {
            let text = std::fs::read_to_string(folder.0.join("output")).unwrap();
            let ended = process.0.try_wait().unwrap().is_some();
            (ended || text.ends_with('\n')).then_some(text)
        });
        let log = || std::fs::read_to_string(folder.0.join("log")).unwrap();
        assert!(line.starts_with("ready sip="), "not ready: {line}{}", log());
        let at = |key: &str| {
            let text = line.split_once(key).unwrap().1;
            let text = text.split([' ', ',', '\n']).next().unwrap();
            text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
        };
        let (sip, tcp) = (at("sip=udp://"), at("tcp://"));
        let (http, admin) = (at(" http=http://"), at(" admin=http://"));
        let third = line.split([' ', ',']).filter(|l| !l.contains("http")).nth(3);
        let also = third.filter(|_| !also.is_empty()).and_then(|l| l.split("://").nth(1)?.parse().ok());
        let words = line.trim().trim_start_matches("ready sip=").split(' ').next().unwrap_or_default();
        let listener = |l: &str| {
            let (protocol, address) = l.split_once("://")?;
            Some((protocol.to_owned(), address.parse().ok()?))
        };
        let listeners = words.split(',').filter_map(listener).collect();
        Self { process, sip, tcp, also, listeners, http, admin, folder }
    }

    /// Where it listens by a protocol.
    #[allow(dead_code, reason = "only the proof needs it")]
    pub fn by(&self, protocol: &str) -> SocketAddr {
        self.listeners.iter().find(|(p, _)| p == protocol).expect("it listens by this protocol").1
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.0.join("log")).unwrap()
    }

    /// Status and body of a request with the token.
    pub fn ask(&self, method: &str, path: &str) -> (u16, String) {
        curl(method, &format!("http://{}{path}", self.http), Some(TOKEN))
    }

    pub fn roster(&self, conference: &str) -> Vec<Value> {
        match self.ask("GET", &format!("/v1/conferences/{conference}/roster")) {
            (200, body) => {
                serde_json::from_str::<Value>(&body).unwrap()["participants"].as_array().unwrap().clone()
            }
            (404, _) => Vec::new(),
            other => panic!("{other:?}"),
        }
    }

    /// A metric's value.
    pub fn metric(&self, name: &str) -> u64 {
        let (status, text) = curl("GET", &format!("http://{}/metrics", self.admin), None);
        assert_eq!(status, 200);
        let line = text
            .lines()
            .find(|l| l.split(' ').next() == Some(name))
            .unwrap_or_else(|| panic!("no {name}: {text}"));
        line.split(' ').nth(1).unwrap().parse::<f64>().unwrap() as u64
    }

    /// Waits until a metric has a value.
    pub fn await_metric(&self, name: &str, value: u64) {
        until(&format!("{name} = {value}"), || (self.metric(name) == value).then_some(()));
    }

    /// Watches a conference that is there.
    pub fn watch(&self, conference: &str) -> Feed {
        self.watch_as(conference, TOKEN)
    }

    /// The same with another token.
    pub fn watch_as(&self, conference: &str, token: &str) -> Feed {
        let stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let uri = format!("ws://{}/v1/conferences/{conference}/events", self.http);
        let mut request = uri.into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        Feed(tungstenite::client(request, stream).unwrap().0)
    }

    /// A caller that stays for `seconds` unless it is ended before.
    pub fn caller(&self, conference: &str, seconds: f64, more: &[&str]) -> Process {
        let child = self.call(conference, seconds, more).stdout(Stdio::null()).spawn().unwrap();
        Process(child)
    }

    pub fn call(&self, conference: &str, seconds: f64, more: &[&str]) -> Command {
        let mut command = sotto();
        let uri = format!("sip:{conference}@{}", self.sip);
        command.args(["call", &uri, "--seconds", &seconds.to_string()]).args(more);
        command.args(["--local", &self.sip.ip().to_string()]);
        command
    }

    /// Waits until so many rows are live.
    pub fn await_live(&self, conference: &str, count: usize) -> Vec<Value> {
        until(&format!("{count} live rows"), || {
            let rows = self.roster(conference);
            (rows.iter().filter(|r| r["state"] == "live").count() == count).then_some(rows)
        })
    }
}

impl Setup<'_> {
    /// Takes rights from the process that `command` starts, which keeps its files in `folder`.
    pub fn confine(&self, command: &mut Command, folder: &Folder) {
        use std::os::unix::process::CommandExt;
        const NOBODY: u32 = 65_534;
        // SAFETY: a plain system call.
        if self.nobody && unsafe { libc::geteuid() } == 0 {
            std::os::unix::fs::chown(&folder.0, Some(NOBODY), Some(NOBODY)).unwrap();
            command.uid(NOBODY).gid(NOBODY);
        }
        if self.denied.is_empty() {
            return;
        }
        let step = |code: u32, k: u32, jt: u8| libc::sock_filter { code: code as u16, k, jt, jf: 0 };
        // Load the system call's number; one that is denied jumps to the last step.
        let mut filter = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
        for (place, call) in self.denied.iter().enumerate() {
            let to_the_last = (self.denied.len() - place) as u8;
            filter.push(step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, *call as u32, to_the_last));
        }
        filter.push(step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0));
        filter.push(step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0));
        let install = move || {
            let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
            // SAFETY: system calls on a filter that lives as long as they take; the kernel only reads it.
            let refused = unsafe {
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                    || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) != 0
            };
            if refused { Err(std::io::Error::last_os_error()) } else { Ok(()) }
        };
        // SAFETY: between fork and exec nothing but system calls is done.
        unsafe { command.pre_exec(install) };
    }
}

/// A roster's feed.
pub struct Feed(WebSocket<TcpStream>);

impl Feed {
    /// The next event.
    pub fn next(&mut self) -> Value {
        loop {
            match self.0.read().unwrap() {
                tungstenite::Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                tungstenite::Message::Close(_) => return Value::Null,
                _ => {}
            }
        }
    }

    /// The next message's text; nothing when the bridge closes or goes.
    #[allow(dead_code, reason = "not every target needs it")]
    pub fn text(&mut self) -> Option<String> {
        loop {
            match self.0.read().ok()? {
                tungstenite::Message::Text(text) => return Some(text.to_string()),
                tungstenite::Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// Says something to the bridge, which is not what it is there for.
    #[allow(dead_code, reason = "not every target needs it")]
    pub fn say(&mut self, text: &'static str) -> tungstenite::Result<()> {
        self.0.send(tungstenite::Message::text(text))
    }

    /// The code with which the bridge has closed it.
    #[allow(dead_code, reason = "not every target needs it")]
    pub fn closed_with(&mut self) -> Option<u16> {
        loop {
            if let tungstenite::Message::Close(frame) = self.0.read().ok()? {
                return frame.map(|frame| frame.code.into());
            }
        }
    }

    /// Reads until the bridge closes or goes, as a host does who looks on.
    #[allow(dead_code, reason = "only the proof needs it")]
    pub fn look_on(mut self) {
        while self.0.read().is_ok() {}
    }

    /// Events up to the first that fits, which is the last returned.
    pub fn up_to(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
        let (begun, mut events) = (Instant::now(), Vec::new());
        loop {
            assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}: {events:?}");
            let event = self.next();
            assert!(!event.is_null(), "closed before {what}: {events:?}");
            events.push(event);
            if fits(events.last().unwrap()) {
                return events;
            }
        }
    }
}

pub fn curl(method: &str, url: &str, token: Option<&str>) -> (u16, String) {
    curl_with(method, url, token, None)
}

/// The same with a body of JSON.
pub fn curl_with(method: &str, url: &str, token: Option<&str>, body: Option<&str>) -> (u16, String) {
    let mut command = Command::new("curl");
    command.args(["-s", "-m", "10", "-X", method, "-w", "\n%{http_code}", url]);
    if let Some(token) = token {
        command.args(["-H", &format!("Authorization: Bearer {token}")]);
    }
    if let Some(body) = body {
        command.args(["-H", "Content-Type: application/json", "--data-binary", body]);
    }
    let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

/// The folder of this file.
pub fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests")
}

/// An account, made by the command that makes the first admin too.
pub fn add_user_as(config: &Path, login: &str, password: &str, more: &[&str]) -> Value {
    let mut command = sotto();
    command.args(["user", "add", login, "--json", "--config"]).arg(config).args(more);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A script of `page`, and what all of them import, beside the modules that they need: node looks for those from where a script lies.
pub fn page(name: &str) -> PathBuf {
    let modules = here().join("../target/peers/jose");
    for file in [name, "browser.mjs", "look.mjs"] {
        // Another test may read it just now.
        let new = modules.join(format!("{file}.{:016x}", rand::random::<u64>()));
        std::fs::copy(here().join("page").join(file), &new).unwrap();
        std::fs::rename(&new, modules.join(file)).unwrap();
    }
    modules.join(name)
}

/// A demo caller's speech: 1 to 6.
pub fn speech(n: usize) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("assets/speech/{n}.wav"))
}

/// A demo caller's speech, again and again, for as long as a test may take.
pub fn endless(folder: &Folder, n: usize) -> PathBuf {
    let path = folder.0.join(format!("endless{n}.wav"));
    let mut recorder = sotto::phone::Recorder::create(&path, Rate::Narrow).unwrap();
    let speech = sotto::phone::read_wav(&speech(n)).unwrap().at(Rate::Narrow);
    (0..20).for_each(|_| recorder.write(&speech).unwrap());
    recorder.finish().unwrap();
    path
}

/// Two seconds of a demo caller's speech, after a silence.
pub fn clip(folder: &Folder, n: usize, after: f32) -> PathBuf {
    let path = folder.0.join(format!("voice{n}.wav"));
    let mut recorder = sotto::phone::Recorder::create(&path, Rate::Narrow).unwrap();
    let speech = sotto::phone::read_wav(&speech(n)).unwrap().at(Rate::Narrow);
    recorder.write(&vec![0; (after * 8000.0) as usize]).unwrap();
    recorder.write(&speech[..16_000.min(speech.len())]).unwrap();
    recorder.finish().unwrap();
    path
}

pub fn samples(path: &Path) -> Vec<f32> {
    let clip = sotto::phone::read_wav(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    clip.at(Rate::Narrow).into_iter().map(f32::from).collect()
}

/// How much of a voice is in a recording: the best normalised correlation of one of its four loudest quarter seconds over all delays, 0
/// to 1. Several are tried because a late packet (the machine is no real-time one) moves what follows it.
pub fn heard(voice: &[f32], recording: &[f32]) -> f32 {
    const LENGTH: usize = 2000;
    let energy = |s: &[f32]| s.iter().map(|x| x * x).sum::<f32>();
    let mut pieces: Vec<&[f32]> = voice.chunks_exact(LENGTH).collect();
    pieces.sort_by(|a, b| energy(b).total_cmp(&energy(a)));
    let mut best = 0.0f32;
    for piece in pieces.iter().take(4) {
        let norm = energy(piece).sqrt();
        for window in recording.windows(LENGTH) {
            let dot: f32 = piece.iter().zip(window).map(|(a, b)| a * b).sum();
            best = best.max(dot / (norm * energy(window).sqrt()).max(1.0));
        }
    }
    best
}

/// This machine's address: softphones and browsers will not name the loopback's in their descriptions. No packet is sent.
pub fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let routed = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    routed.map_or(IpAddr::from([127, 0, 0, 1]), |a| a.ip())
}

/// What a process said, for a failure's message.
pub fn told(output: &Output) -> String {
    format!(
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
