use super::*;

const RECORDINGS: [&str; 8] = ["welcome", "number", "unknown", "pin", "wrong", "count", "bye", "name"];

const SCRIPT: &str = r##"
    start = "welcome"
    known = "pin"
    [states.welcome]
    say = ["welcome"]
    then = "number"
    [states.number]
    ask = "conference"
    say = ["number"]
    again = ["unknown", "number"]
    silent = ["number"]
    right = "pin"
    open = "on"
    failed = "bye"
    [states.pin]
    ask = "pin"
    say = ["pin"]
    again = ["wrong"]
    digits = 6
    right = "name"
    failed = "bye"
    [states.name]
    record = "name"
    say = ["name"]
    first = 3
    longest = 4
    then = "on"
    [states.on]
    say = ["count", "{count}"]
    then = "enter"
    [states.bye]
    say = ["bye"]
    then = "hang-up"
"##;

/// Each recording takes a second.
fn length(parts: &[Part]) -> Duration {
    Duration::from_secs(parts.len() as u64)
}

struct Rig {
    visit: Visit,
    now: Instant,
    out: Vec<Output>,
}

impl Rig {
    fn new(known: bool) -> Self {
        let recording = |name: &str| RECORDINGS.iter().position(|r| *r == name).map(|place| place as u8);
        let script = Arc::new(Script::parse(SCRIPT, recording, &["en"]).unwrap());
        let (now, mut out, start) = (Instant::now(), Vec::new(), script.start(known));
        let visit = Visit::begin(script, start, now, length, &mut out);
        Self { visit, now, out }
    }

    fn on(&mut self, input: Input) {
        self.visit.on(input, self.now, length, &mut self.out);
    }

    fn keys(&mut self, keys: &str) {
        keys.chars().for_each(|key| self.on(Input::Key(key)));
    }

    /// Until something is wanted of whoever waits; how long that took.
    fn wait(&mut self) -> Duration {
        let until = self.visit.until().unwrap();
        let took = until - self.now;
        self.now = until;
        self.on(Input::Time);
        took
    }

    /// What came out, in short.
    fn told(&mut self) -> String {
        let of = |output: Output| match output {
            Output::Say(parts) => {
                let name = |part: &Part| match part {
                    Part::Recording(place) => RECORDINGS[usize::from(*place)].to_owned(),
                    Part::Count => "#".to_owned(),
                };
                parts.iter().map(name).collect::<Vec<_>>().join("+")
            }
            Output::Hush => "hush".into(),
            Output::Speak(place) => format!("speak {place}"),
            Output::Check(ask, entered) => {
                format!("{ask:?} {}", std::str::from_utf8(entered.digits()).unwrap())
            }
            Output::Listen => "listen".into(),
            Output::Listened => "listened".into(),
            Output::Enter => "enter".into(),
            Output::HangUp => "hang up".into(),
        };
        self.out.drain(..).map(of).collect::<Vec<_>>().join(", ")
    }
}

#[test]
fn a_caller_is_led_in_by_number_and_pin() {
    let mut rig = Rig::new(false);
    assert_eq!(rig.told(), "welcome");
    assert_eq!(rig.wait(), Duration::from_secs(1));
    assert_eq!(rig.told(), "number");
    rig.now += Duration::from_secs(2);
    rig.keys("20255#");
    assert_eq!(rig.told(), "Conference 20255");
    rig.on(Input::Verdict(Verdict::Right));
    assert_eq!(rig.told(), "pin");
    rig.keys("123456");
    assert_eq!(rig.told(), "hush, Pin 123456", "six digits are enough, and who presses hears no more");
    rig.on(Input::Verdict(Verdict::Right));
    assert_eq!(rig.told(), "count+#");
    rig.keys("1");
    assert_eq!(rig.told(), "", "what leads in is heard to its end");
    assert_eq!(rig.wait(), Duration::from_secs(2));
    assert_eq!((rig.told().as_str(), rig.visit.until()), ("enter", None));
    rig.keys("1");
    rig.on(Input::Time);
    assert_eq!(rig.told(), "");
}

#[test]
fn a_meeting_that_wants_no_pin_is_entered_at_once() {
    let mut rig = Rig::new(false);
    rig.keys("20255#");
    rig.on(Input::Verdict(Verdict::Open));
    assert_eq!(rig.told(), "welcome, number, hush, Conference 20255, count+#");
}

#[test]
fn who_knows_the_way_may_press_everything_at_once() {
    let mut rig = Rig::new(false);
    rig.keys("20255#123456");
    assert_eq!(rig.told(), "welcome, number, hush, Conference 20255");
    rig.on(Input::Verdict(Verdict::Right));
    assert_eq!(rig.told(), "pin, hush, Pin 123456");
    // More than is kept is lost, and nothing else.
    rig.keys(&"7".repeat(100));
    rig.on(Input::Verdict(Verdict::Wrong));
    assert_eq!(rig.told(), "wrong, hush, Pin 777777");
}

#[test]
fn three_wrong_answers_end_the_call() {
    let mut rig = Rig::new(true);
    for last in [false, false, true] {
        rig.told();
        rig.keys("000000");
        rig.told();
        rig.on(Input::Verdict(Verdict::Wrong));
        assert_eq!(rig.told(), if last { "bye" } else { "wrong" });
    }
    rig.wait();
    assert_eq!((rig.told().as_str(), rig.visit.until()), ("hang up", None));
}

#[test]
fn silence_is_asked_again_and_then_ends_the_call() {
    let mut rig = Rig::new(true);
    assert_eq!(rig.wait(), Duration::from_secs(1 + 8), "the question, and eight seconds");
    assert_eq!(rig.wait(), Duration::from_secs(1 + 8));
    rig.wait();
    assert_eq!(rig.told(), "pin, pin, pin, bye");
}

#[test]
fn a_pause_after_digits_is_an_answer_and_a_star_begins_anew() {
    let mut rig = Rig::new(true);
    rig.keys("99*12");
    assert_eq!(rig.wait(), Duration::from_secs(4));
    assert_eq!(rig.told(), "pin, hush, Pin 12");
    let mut rig = Rig::new(true);
    rig.keys("#*#");
    assert_eq!(rig.told(), "pin, hush", "no digits are no answer");
}

#[test]
fn guessing_that_is_refused_and_a_check_that_nobody_answers_end_the_call() {
    let mut rig = Rig::new(true);
    rig.keys("123456");
    rig.on(Input::Verdict(Verdict::Refused));
    assert_eq!(rig.told(), "pin, hush, Pin 123456, bye");
    let mut rig = Rig::new(true);
    rig.keys("123456");
    assert_eq!(rig.wait(), PATIENCE);
    rig.on(Input::Verdict(Verdict::Right));
    assert_eq!(rig.told(), "pin, hush, Pin 123456, bye", "it came too late");
}

#[test]
fn a_menu_leads_on_in_a_language() {
    let text = SCRIPT.replace("start = \"welcome\"", "start = \"tongue\"").replace(
        "[states.welcome]",
        "[states.tongue]\nsay = [\"welcome\"]\nmenu = { 1 = \"number\", 2 = \"pin\" }\nfailed = \"bye\"\n[states.welcome]\nlanguage = \"de\"",
    );
    let text = text.replace("[states.pin]", "[states.pin]\nlanguage = \"de\"");
    let recording = |name: &str| RECORDINGS.iter().position(|r| *r == name).map(|place| place as u8);
    let script = Arc::new(Script::parse(&text, recording, &["en", "de"]).unwrap());
    let (now, mut out, start) = (Instant::now(), Vec::new(), script.start(false));
    let visit = Visit::begin(script, start, now, length, &mut out);
    let mut rig = Rig { visit, now, out };
    rig.keys("3");
    assert_eq!(rig.told(), "welcome, welcome", "no such choice: asked again");
    rig.keys("2");
    assert_eq!(rig.told(), "hush, speak 1, pin");
}

/// A caller who is asked for their name.
fn asked() -> Rig {
    let mut rig = Rig::new(true);
    rig.visit.set_names(true);
    rig.keys("123456");
    rig.on(Input::Verdict(Verdict::Right));
    assert_eq!(rig.told(), "pin, hush, Pin 123456, name");
    rig
}

#[test]
fn a_name_is_listened_to_behind_the_tone_until_a_pause() {
    let mut rig = asked();
    assert_eq!(rig.wait(), Duration::from_secs(1));
    assert_eq!(rig.told(), "listen");
    rig.now += Duration::from_millis(1500);
    rig.on(Input::Voice(true));
    rig.now += Duration::from_millis(800);
    rig.on(Input::Voice(false));
    rig.now += Duration::from_millis(300);
    rig.on(Input::Voice(true));
    rig.now += Duration::from_millis(500);
    rig.on(Input::Voice(false));
    assert_eq!((rig.wait(), rig.told().as_str()), (PAUSE, "listened, count+#"));
    // Of a name that was said it is nothing any more.
    rig.on(Input::Voice(true));
    assert_eq!(rig.wait(), Duration::from_secs(2));
    assert_eq!(rig.told(), "enter");
}

#[test]
fn a_name_ends_with_the_hash_key_with_its_longest_time_or_without_a_word() {
    let mut rig = asked();
    rig.keys("12#");
    assert_eq!(rig.told(), "hush, count+#", "skipped before the tone");
    let mut rig = asked();
    rig.wait();
    rig.keys("7#");
    assert_eq!(rig.told(), "listen, listened, count+#", "and behind it");
    let mut rig = asked();
    rig.wait();
    rig.told();
    assert_eq!(rig.wait(), Duration::from_secs(3));
    assert_eq!(rig.told(), "listened, count+#", "silence is an answer too");
    let mut rig = asked();
    rig.on(Input::Voice(true));
    rig.wait();
    assert_eq!(rig.told(), "listen");
    assert_eq!(rig.wait(), Duration::from_secs(4), "who speaks already is heard at once, and not for ever");
    assert_eq!(rig.told(), "listened, count+#");
}

#[test]
fn what_was_entered_is_shown_by_nothing_and_wiped() {
    let mut entered = Entered::default();
    "1234567890123456789".chars().for_each(|key| entered.push(key));
    assert_eq!((entered.digits().len(), format!("{entered:?}")), (LONGEST, "Entered(..)".into()));
    assert_eq!((entered.take_first(), entered.digits()), (Some('1'), &b"234567890123456"[..]));
    entered.clear();
    assert_eq!(entered.digits, [0; LONGEST]);
}
