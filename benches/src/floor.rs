//! The floor: a do-nothing echo. One thread, one connected socket per participant, all drained every 20 ms, one send
//! for each packet received. What it costs is what the machine's network costs.

use crate::BRIDGE_CORE;
use anyhow::Context;
use media::shard::wall_clock;
use sotto::loadtest::{Generator, Leg, Network, SETTLE, process};
use sotto::phone::Line;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The child's side: binds sockets, prints their ports in a line, reads the peers' ports from a line, then echoes
/// until its input ends.
pub(crate) fn echo(count: usize) -> anyhow::Result<()> {
    let sockets: Vec<UdpSocket> = (0..count).map(|_| UdpSocket::bind((HERE, 0))).collect::<Result<_, _>>()?;
    let mut line = String::new();
    for socket in &sockets {
        socket.set_nonblocking(true)?;
        line += &format!("{} ", socket.local_addr()?.port());
    }
    writeln!(std::io::stdout(), "{line}")?;
    let mut peers = String::new();
    std::io::stdin().lock().read_line(&mut peers)?;
    for (socket, port) in sockets.iter().zip(peers.split_whitespace()) {
        socket.connect((HERE, port.parse::<u16>()?))?;
    }
    std::thread::spawn(|| {
        let _ = std::io::stdin().lock().read_line(&mut String::new());
        std::process::exit(0);
    });
    let mut next = Instant::now();
    let mut buffer = [0; 2048];
    loop {
        for socket in &sockets {
            while let Ok(n) = socket.recv(&mut buffer) {
                // What the kernel does not take is lost.
                let _ = socket.send(&buffer[..n]);
            }
        }
        next += Duration::from_millis(20);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// CPU of the floor, ms per participant-second, under the same load as the bridge's and at the same time, once `go` is told.
pub(crate) fn measure(participants: usize, seconds: u64, go: &Receiver<()>) -> anyhow::Result<f64> {
    let mut child = Command::new("taskset")
        .args(["-c", BRIDGE_CORE])
        .arg(std::env::current_exe()?)
        .args(["echo", &participants.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let result = (|| {
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("stdout")?).read_line(&mut line)?;
        let mut input = child.stdin.take().context("stdin")?;
        let mut peers = String::new();
        let mut legs = Vec::new();
        for port in line.split_whitespace() {
            let own = Line::open(HERE)?;
            peers += &format!("{} ", own.address.port());
            legs.push(Leg::new(own, SocketAddr::new(HERE, port.parse()?), 0, None, None)?.deaf());
        }
        writeln!(input, "{peers}")?;
        go.recv().context("the bridge was not measured")?;
        let mut generator = Generator::new(legs, Network::default(), Arc::default());
        generator.run(SETTLE, false);
        let (before, begun) = (process(child.id())?, Instant::now());
        generator.run(Duration::from_secs(seconds), true);
        let (after, took) = (process(child.id())?, begun.elapsed().as_secs_f64());
        Ok((after.cpu_ms - before.cpu_ms) / (participants as f64 * took))
    })();
    // It is our own child; its input has ended already.
    let _ = child.kill();
    let _ = child.wait();
    result
}

/// The floor of a call: three datagrams sent and three received, as the bridge does for INVITE, ACK and BYE; CPU, ms.
pub(crate) fn call_floor() -> anyhow::Result<f64> {
    let (a, b) = (UdpSocket::bind((HERE, 0))?, UdpSocket::bind((HERE, 0))?);
    a.connect(b.local_addr()?)?;
    b.connect(a.local_addr()?)?;
    b.set_nonblocking(true)?;
    let mut receiver = media::shard::Receiver::new();
    let message = [b'x'; 600];
    let calls = 20_000;
    let me = std::process::id();
    let before = process(me)?;
    for _ in 0..calls {
        for _ in 0..3 {
            a.send(&message)?;
            receiver.drain(&b, true, wall_clock(), |_, _, _| true);
        }
    }
    let after = process(me)?;
    Ok((after.cpu_ms - before.cpu_ms) / f64::from(calls))
}
