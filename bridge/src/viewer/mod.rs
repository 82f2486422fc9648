//! A roster's viewer: follows the feed over WebSocket and shows it, on a terminal as a live table, elsewhere as lines.
//!
//! What comes from the feed is data of another process: it is bounded, and control characters in it are not shown.

mod feed;
mod key;
mod model;
mod plain;
mod screen;

pub use feed::{Feed, Said, ViewerError};
pub use key::dial;
pub use model::View;
pub use screen::draw;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use std::io::IsTerminal;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Why watching ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The user wished so (a key or a signal), or the time was over.
    Wish,
    /// The conference is over.
    Over,
}

/// Follows a feed until the user, `at_most` or the conference ends it. `notes` stand below the table.
///
/// # Errors
/// [`ViewerError`]: refused, or the terminal does not work.
pub async fn watch(source: Feed, notes: &[String], at_most: Option<Duration>) -> Result<Ended, ViewerError> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let wish = async {
        let time = async {
            match at_most {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
            () = time => {}
        }
    };
    tokio::pin!(wish);
    // A task of its own, so that a connection being made is not given up for a key or a redraw.
    let mut view = View::new(source.conference());
    let (told, feed) = mpsc::channel(64);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(follow(source, told));
    if std::io::stdout().is_terminal() {
        let mut terminal = ratatui::try_init()?;
        let ended = on_terminal(&mut terminal, &mut view, feed, notes, wish).await;
        ratatui::try_restore()?;
        ended
    } else {
        as_lines(&mut view, feed, notes, wish).await
    }
}

/// Everything that the feed says, up to the first error.
async fn follow(mut feed: Feed, told: mpsc::Sender<Result<Said, ViewerError>>) {
    loop {
        let said = feed.next().await;
        let last = said.is_err();
        if told.send(said).await.is_err() || last {
            return;
        }
    }
}

type Told = mpsc::Receiver<Result<Said, ViewerError>>;

async fn on_terminal(
    terminal: &mut ratatui::DefaultTerminal,
    view: &mut View,
    mut feed: Told,
    notes: &[String],
    mut wish: std::pin::Pin<&mut impl Future<Output = ()>>,
) -> Result<Ended, ViewerError> {
    let mut keys = keys();
    // Changes come in bursts; a table that is drawn more often is no better to read.
    let mut redraw = tokio::time::interval(Duration::from_millis(50));
    redraw.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut stale = true;
    loop {
        tokio::select! {
            Some(said) = feed.recv() => {
                view.take(said?);
                stale = true;
            }
            key = keys.recv() => match key {
                Some(Key::Quit) | None => return Ok(Ended::Wish),
                Some(Key::Other) => stale = true,
            },
            _ = redraw.tick() => {
                if std::mem::take(&mut stale) {
                    terminal.draw(|frame| draw(frame, view, notes))?;
                }
                if view.is_over() {
                    return Ok(Ended::Over);
                }
            }
            () = &mut wish => return Ok(Ended::Wish),
        }
    }
}

#[allow(clippy::print_stdout)]
async fn as_lines(
    view: &mut View,
    mut feed: Told,
    notes: &[String],
    mut wish: std::pin::Pin<&mut impl Future<Output = ()>>,
) -> Result<Ended, ViewerError> {
    for note in notes {
        println!("{note}");
    }
    loop {
        tokio::select! {
            Some(said) = feed.recv() => {
                for line in plain::lines(view, said?) {
                    println!("{line}");
                }
                if view.is_over() {
                    return Ok(Ended::Over);
                }
            }
            () = &mut wish => return Ok(Ended::Wish),
        }
    }
}

enum Key {
    Quit,
    Other,
}

/// Keys, read by a thread that ends with the receiver (at the next key) or the process.
fn keys() -> mpsc::Receiver<Key> {
    let (send, keys) = mpsc::channel(16);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            let key = match event {
                Event::Key(key) => match key.code {
                    KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
                    KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
                    _ => continue,
                },
                Event::Resize(..) => Key::Other,
                _ => continue,
            };
            if send.blocking_send(key).is_err() {
                return;
            }
        }
    });
    keys
}
