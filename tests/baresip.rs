//! A softphone that others wrote: baresip, headless, with a file for a microphone.

use crate::harness::{Bridge, Folder, PATIENCE, Process, Setup, heard, own_address, samples, speech, until};
use crate::tls::Authority;
use media::Rate;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

fn modules() -> PathBuf {
    let found = [
        "/usr/lib/baresip/modules",
        "/usr/lib/x86_64-linux-gnu/baresip/modules",
        "/usr/lib/aarch64-linux-gnu/baresip/modules",
    ];
    found.into_iter().map(PathBuf::from).find(|p| p.is_dir()).expect("baresip's modules")
}

/// The same speech over and over, for a call ends with its file.
fn long(folder: &Folder, n: usize, rate: Rate) -> PathBuf {
    let path = folder.0.join("voice.wav");
    let mut recorder = sotto::phone::Recorder::create(&path, rate).unwrap();
    let samples = sotto::phone::read_wav(&speech(n)).unwrap().at(rate);
    for _ in 0..=30 * rate.hz() as usize / samples.len() {
        recorder.write(&samples).unwrap();
    }
    recorder.finish().unwrap();
    path
}

fn recorded(folder: &Path, what: &str) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path());
    files.into_iter().find(|f| f.to_string_lossy().ends_with(what))
}

#[test]
fn baresip_is_heard_and_hears_the_mix_without_itself_by_udp() {
    baresip_is_heard_and_hears_the_mix_without_itself("udp", "PCMA", Rate::Narrow, "");
}

#[test]
fn baresip_is_heard_and_hears_the_mix_without_itself_by_tcp() {
    baresip_is_heard_and_hears_the_mix_without_itself("tcp", "PCMA", Rate::Narrow, "");
}

#[test]
fn baresip_is_heard_and_hears_the_mix_without_itself_by_tls() {
    baresip_is_heard_and_hears_the_mix_without_itself("tls", "PCMA", Rate::Narrow, "");
}

#[test]
fn baresip_is_heard_and_hears_the_mix_without_itself_in_g722() {
    baresip_is_heard_and_hears_the_mix_without_itself("udp", "G722/16000/1", Rate::Wide, "");
}

#[test]
fn baresip_is_heard_and_hears_the_mix_without_itself_in_opus_and_encrypted() {
    baresip_is_heard_and_hears_the_mix_without_itself(
        "tls",
        "opus/48000/1",
        Rate::Full,
        ";mediaenc=srtp-mand",
    );
}

#[test]
fn baresip_is_heard_and_hears_the_mix_without_itself_with_dtls_for_rtp_and_rtcp_each() {
    baresip_is_heard_and_hears_the_mix_without_itself("udp", "PCMU", Rate::Narrow, ";mediaenc=dtls_srtp");
}

#[test]
fn baresip_is_heard_and_hears_the_mix_without_itself_with_dtls_and_one_port() {
    let more = ";mediaenc=dtls_srtp;rtcp_mux=yes";
    baresip_is_heard_and_hears_the_mix_without_itself("tcp", "opus/48000/1", Rate::Full, more);
}

fn baresip_is_heard_and_hears_the_mix_without_itself(transport: &str, codec: &str, rate: Rate, more: &str) {
    let address = own_address();
    let listen = address.to_string();
    let authority = Authority::new();
    let sip = authority.settings(&format!("DNS:localhost,IP:{address}"));
    let bridge = Bridge::with(&Setup {
        listen: &listen,
        also: &format!(", \"tls://{address}:0\""),
        sip: &sip,
        trunk: &format!("{address}/32"),
        ..Setup::default()
    });
    let to = match transport {
        "udp" => bridge.sip,
        "tcp" => bridge.tcp,
        _ => bridge.also.unwrap(),
    };
    let folder = Folder::new();
    let voice = long(&folder, 6, rate);
    folder.file(
        "config",
        format!(
            "module_path {}\naudio_source aufile,{}\naudio_player aubridge,x\naudio_channels 1\nmodule aufile.so\nmodule aubridge.so\n\
             module g711.so\nmodule g722.so\nmodule opus.so\nopus_stereo no\nopus_sprop_stereo no\nmodule srtp.so\nmodule dtls_srtp.so\nrtcp_mux {}\nmodule sndfile.so\nsnd_path {}\nmodule_app account.so\nmodule_app menu.so\nsip_cafile {}\n",
            modules().display(),
            voice.display(),
            if more.contains("rtcp_mux") { "yes" } else { "no" },
            folder.0.display(),
            authority.ca()
        ),
    );
    folder.file(
        "accounts",
        format!("<sip:alice@{address};transport={transport}>;regint=0;audio_codecs={codec}{more}\n"),
    );
    folder.file("contacts", "");
    let recording = bridge.folder.0.join("heard.wav");
    let other = speech(3).display().to_string();
    let mut phone = Process(
        Command::new("baresip")
            .arg("-f")
            .arg(&folder.0)
            .args(["-e", &format!("/dial sip:confbaresip@{to};transport={transport}"), "-t", "9"])
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(folder.0.join("out")).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .expect("baresip is installed"),
    );
    let out = || std::fs::read_to_string(folder.0.join("out")).unwrap();
    let begun = std::time::Instant::now();
    while bridge.roster("confbaresip").iter().all(|r| r["state"] != "live") {
        assert!(begun.elapsed() < PATIENCE, "baresip did not come: {}", out());
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut caller =
        bridge.caller("confbaresip", 6.0, &["--wav", &other, "--record", &recording.display().to_string()]);
    assert_eq!(caller.wait(), 0);
    phone.wait();
    let theirs = until("baresip's recording", || recorded(&folder.0, "-dec.wav"));
    let (mix, ours) = (samples(&theirs), samples(&recording));
    let [own, others] = [heard(&samples(&speech(6)), &mix), heard(&samples(&speech(3)), &mix)];
    // Opus does not keep the wave as it is.
    let alike = if codec.starts_with("opus") { 0.88 } else { 0.95 };
    assert!(others > alike, "baresip hears the other caller: {others}; {}", out());
    assert!(own < 0.7, "baresip does not hear itself: {own}");
    let back = heard(&samples(&speech(6)), &ours);
    assert!(back > alike, "baresip is heard: {back}");
}
