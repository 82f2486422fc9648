//! An event that is on while the bridge is looked at: guests who wait and are let in, and an operator who has the portal open in a real browser.

use super::callers::{Caller, Ways};
use super::canary::Identity;
use crate::harness::{Bridge, Process, add_user_as, page};
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

/// Its lines of the configuration.
pub const CONFERENCE: &str = "[[conference]]\nid = \"event\"\nnumber = \"+12025550160\"\nlobby = \"admit\"\nfields = [\"Company\"]\nattendance = true\n";
/// Who calls: one of them is the operator's own line.
const GUESTS: usize = 5;
const PASSWORD: &str = "four random words here";

pub struct Event {
    pub guests: Vec<Caller>,
    /// What was noted of the guests, as names, and what the operator signs in with.
    noted: Vec<Identity>,
    operator: Identity,
    browser: Process,
    go_on: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Event {
    /// All call, and the operator has done what operators do.
    pub fn open(bridge: &Bridge, ways: &Ways) -> Self {
        let mut guests: Vec<_> =
            (0..GUESTS).map(|n| ways.caller(bridge, n, None).to("+12025550160")).collect();
        for guest in &mut guests {
            guest.invite();
            guest.await_answer();
            guest.ack();
        }
        let (operator, noted) = (Identity::new(), (0..GUESTS).map(|_| Identity::new()).collect());
        let login = format!("{}@example.com", operator.email);
        add_user_as(&bridge.folder.0.join("bridge.toml"), &login, PASSWORD, &["--role", "host"]);
        let mut browser = Command::new("timeout")
            .args(["1200", "node"])
            .arg(page("event.mjs"))
            .args([&format!("http://{}", bridge.http), &login, PASSWORD, &GUESTS.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let go_on = browser.stdin.take().unwrap();
        let said = BufReader::new(browser.stdout.take().unwrap()).lines();
        let mut event = Self { guests, noted, operator, browser: Process(browser), go_on, said };
        for n in 0..GUESTS {
            assert_eq!(event.next(), format!("note {n}"));
            let value = event.noted[n].name.clone();
            event.answer(&value);
        }
        assert_eq!(event.next(), "open");
        event
    }

    fn next(&mut self) -> String {
        self.said.next().expect("the browser goes on").unwrap()
    }

    fn answer(&mut self, line: &str) {
        writeln!(self.go_on, "{line}").unwrap();
    }

    /// Everybody whose identity must not be found.
    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.guests.iter().map(|g| &g.identity).chain(&self.noted).chain([&self.operator])
    }

    /// The operator closes the portal; the guests hang up.
    pub fn close(mut self) -> Vec<Identity> {
        self.answer("end");
        let found = self.next();
        assert_eq!(
            found,
            format!("found {{\"elsewhere\":[],\"errors\":[],\"faults\":[],\"names\":{GUESTS}}}")
        );
        self.browser.wait();
        self.guests.iter_mut().for_each(Caller::bye);
        self.guests.into_iter().map(|g| g.identity).chain(self.noted).chain([self.operator]).collect()
    }
}
