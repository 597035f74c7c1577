//! `roomwire join`: a chat client for a terminal or a pipe.
//!
//! One loop waits for the gateway, for a line of input and for a signal. Lines come from a thread of
//! their own, because a blocked read of a terminal cannot be taken back and must not hold up the
//! exit. A stdout that nobody reads holds up the whole client; the gateway then drops it as slow, and
//! it resumes when it is read again.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    pin::pin,
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;
use roomwire_protocols::{
    chat,
    event::{self, MessageView},
    line, name,
    room::{self, Subject},
};
use serde_json::value::RawValue;
use tokio::{
    select,
    sync::mpsc,
    time::{Instant, sleep},
};

mod backlog;
mod input;

use self::{
    backlog::Backlog,
    input::{Input, MAX_LINE_BYTES, Request, read_lines, understand},
};
use super::terminal::{Reader, name_argument, notice, print, subject_argument};
use crate::client::{
    Client, ClientOptions, Command, Event, Joined, Member, Message, SendError, ServerEvent,
    json_string, url::ServerUrl,
};

/// Beyond any healthy answer; what does not speak roomwire.v1 may accept a connection and say
/// nothing.
const JOIN_LIMIT: Duration = Duration::from_secs(15);
/// How long `/quit` waits for what was typed before it to be published.
const QUIT_LIMIT: Duration = Duration::from_secs(5);
/// Lines read ahead of the session.
const LINES_AHEAD: usize = 64;
/// Members named by `/who`; the rest are counted.
const MAX_NAMED: usize = 50;

const HELP: &str = "\
any line is published to the room, except these:
/who            show who is there
/history [N]    show the newest N messages (20)
/nick NAME      call yourself NAME
/help           show this
/quit           leave (so does Ctrl-C, and Ctrl-D at the beginning of a line)";

const EXAMPLES: &str = "\
Examples:
  roomwire join ws://localhost lobby --name ann
  roomwire join wss://localhost lobby               # trusts this machine's development CA
  roomwire join wss://chat.example:8443 lobby --ca ca.pem
  roomwire join udp://localhost lobby --history 20
  roomwire join ws://localhost 'news.*' --json | jq .data
  tail -f app.log | roomwire join tcp://localhost logs --name app

In a terminal, type /help. Lines from a pipe are published as they come; after the last one the
client goes on listening (for one message and out, see `roomwire publish`).
A lost connection is made again and goes on after the last message seen; what could not be
recovered is said. Messages go to stdout, everything else to stderr.
Exit codes: 0 left, 1 failed, 2 usage.";

/// Join a room: print what is said there, publish what is typed.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct JoinArgs {
    /// The gateway: ws://, wss://, tcp://, udp:// or http(s):// and HOST:PORT
    #[arg(value_name = "URL")]
    url: ServerUrl,
    /// The room, or a pattern such as `news.*` or `news.>`
    #[arg(value_parser = subject_argument)]
    room: String,
    /// What others see as the sender
    #[arg(long, value_parser = name_argument)]
    name: Option<String>,
    /// Trust only the certificate authorities in this PEM file
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Begin with the newest N messages
    #[arg(long, value_name = "N", default_value_t = 0)]
    history: u32,
    /// Print messages as JSON objects, one per line
    #[arg(long)]
    json: bool,
    /// Lines are JSON and published as they stand
    #[arg(long)]
    raw_json: bool,
}

/// Runs until the person leaves or the gateway ends the session.
///
/// # Errors
/// Where the gateway is not reached, refuses the join, or ends the session for a fault.
pub(super) async fn run(args: JoinArgs) -> anyhow::Result<ExitCode> {
    let mut options = ClientOptions::new(args.url.clone());
    options.name.clone_from(&args.name);
    options.ca.clone_from(&args.ca);
    let client = Client::connect(options).await?;
    let mut chat = Chat::enter(client, args)?;
    let (sender, mut lines) = mpsc::channel(LINES_AHEAD);
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || read_lines(io::stdin().lock(), &sender))
        .context("cannot start a thread for the input")?;
    let mut leave = pin!(asked_to_leave());
    let mut deadline = pin!(sleep(JOIN_LIMIT));
    loop {
        let step = select! {
            event = chat.client.next() => chat.on_event(event)?,
            input = lines.recv(), if chat.reads() => chat.on_input(input),
            () = &mut leave => Step::Leave,
            () = &mut deadline, if chat.is_limited() => chat.on_deadline()?,
        };
        match step {
            Step::GoOn => {}
            Step::Quit => deadline.as_mut().reset(Instant::now() + QUIT_LIMIT),
            Step::Leave => break,
        }
        if chat.is_done() {
            break;
        }
    }
    chat.client.close().await;
    Ok(ExitCode::SUCCESS)
}

/// What follows from an event or a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    GoOn,
    /// Leave at once.
    Leave,
    /// Leave when all that was typed has been published.
    Quit,
}

/// Where the conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first join is not answered.
    Joining,
    Talking,
    /// The input has ended, the person has not left.
    Listening,
    Quitting,
}

struct Chat {
    client: Client,
    args: JoinArgs,
    /// The joined subject is a pattern, so there is no one room to publish to.
    pattern: bool,
    join: u64,
    phase: Phase,
    backlog: Backlog,
}

impl Chat {
    fn enter(mut client: Client, args: JoinArgs) -> anyhow::Result<Self> {
        let join = client.send(Command::Join {
            room: args.room.clone(),
            since: None,
            // Programs that read JSON asked for messages only.
            presence: !args.json,
            cookie: None,
        })?;
        Ok(Self {
            client,
            pattern: matches!(room::check(&args.room), Ok(Subject::Pattern)),
            args,
            join,
            phase: Phase::Joining,
            backlog: Backlog::default(),
        })
    }

    /// Lines wait until the join is answered, so that nothing is published from outside of the room
    /// when it is refused, and while too much is unanswered.
    fn reads(&self) -> bool {
        self.phase == Phase::Talking && self.client.has_room()
    }

    fn is_limited(&self) -> bool {
        matches!(self.phase, Phase::Joining | Phase::Quitting)
    }

    fn is_done(&self) -> bool {
        self.phase == Phase::Quitting && !self.client.awaits_answers()
    }

    fn on_deadline(&self) -> anyhow::Result<Step> {
        let url = &self.args.url;
        if self.phase == Phase::Quitting {
            bail!("left before {url} had confirmed all that was typed");
        }
        bail!(
            "{url} did not answer the join within {} s; is this a port of the gateway for rooms?",
            JOIN_LIMIT.as_secs()
        )
    }

    fn on_event(&mut self, event: Event) -> anyhow::Result<Step> {
        match event {
            Event::Connected { .. } => Ok(Step::GoOn),
            Event::Disconnected { reason, retry_in } => {
                let seconds = retry_in.as_secs_f32();
                notice(&format!("{reason}; trying again in {seconds:.1} s"));
                Ok(Step::GoOn)
            }
            Event::Ended {
                reason,
                failed: false,
            } => {
                notice(&format!("the gateway ended the session: {reason}"));
                Ok(Step::Leave)
            }
            Event::Ended { reason, .. } => bail!("{reason}"),
            Event::Server(event) => self.on_server_event(event),
        }
    }

    fn on_server_event(&mut self, event: ServerEvent) -> anyhow::Result<Step> {
        match event {
            ServerEvent::Message(message) => return self.on_message(message),
            ServerEvent::History { id, messages, .. } => return self.on_history(id, messages),
            ServerEvent::Joined(joined) => self.on_joined(&joined),
            ServerEvent::Error { id, code, message } => {
                if id == Some(self.join) && self.phase == Phase::Joining {
                    bail!("cannot join {}: {message} ({code})", self.args.room);
                }
                notice(&format!("error: {message} ({code})"));
                let due = self.backlog.on_error(id);
                return self.show(&due);
            }
            ServerEvent::Gap { room, from, to } => {
                notice(&format!("messages {from} to {to} of {room} were left out"));
            }
            ServerEvent::MemberJoined { room, member } => {
                notice(&format!("{} has come to {room}", shown(&member)));
            }
            ServerEvent::MemberLeft { room, member } => {
                notice(&format!("{} has left {room}", shown(&member)));
            }
            ServerEvent::Members {
                members,
                member_count,
                ..
            } => notice(&roll(&members, member_count)),
            ServerEvent::Welcome {
                name: Some(name), ..
            } if self.phase != Phase::Joining && self.args.name.as_ref() != Some(&name) => {
                notice(&format!("you are {name} now"));
                self.args.name = Some(name);
            }
            ServerEvent::Goodbye { reason, .. } => notice(&format!("goodbye: {reason}")),
            ServerEvent::Challenge { .. }
            | ServerEvent::Left { .. }
            | ServerEvent::Other
            | ServerEvent::Pong { .. }
            | ServerEvent::Published { .. }
            | ServerEvent::Welcome { .. } => {}
        }
        Ok(Step::GoOn)
    }

    fn on_joined(&mut self, joined: &Joined) {
        let room = &self.args.room;
        if self.phase == Phase::Joining {
            self.phase = Phase::Talking;
            let others = match joined.member_count {
                Some(_) if !joined.members.is_empty() => {
                    format!("; {}", roll(&joined.members, joined.member_count))
                }
                _ => String::new(),
            };
            notice(&format!("you are in {room}{others}"));
            if self.args.history > 0 && !self.pattern {
                let room = self.args.room.clone();
                let limit = self.args.history;
                if let Some(id) = self.send(Command::History { room, limit }) {
                    self.backlog.await_history(id);
                }
            }
            return;
        }
        match joined.recovered {
            Some(true) => notice(&format!("back in {room}; nothing was missed")),
            Some(false) => {
                self.backlog.forget();
                notice(&format!("back in {room}; some messages were missed"));
            }
            None => notice(&format!("back in {room}")),
        }
    }

    fn on_message(&mut self, message: Message) -> anyhow::Result<Step> {
        let due = self.backlog.on_live(message);
        self.show(&due)
    }

    fn on_history(&mut self, id: Option<u64>, messages: Vec<Message>) -> anyhow::Result<Step> {
        let due = self.backlog.on_history(id, messages);
        self.show(&due)
    }

    fn show(&self, messages: &[Message]) -> anyhow::Result<Step> {
        let mut out = Vec::new();
        for message in messages {
            self.write(&mut out, message);
        }
        Ok(match print(&out).context("cannot write to stdout")? {
            Reader::Listening => Step::GoOn,
            Reader::Gone => Step::Leave,
        })
    }

    fn write(&self, out: &mut Vec<u8>, message: &Message) {
        let data = message.data.get().as_bytes();
        if self.args.json {
            let mut json = Vec::new();
            event::message(
                &mut json,
                &MessageView {
                    room: &message.room,
                    offset: message.offset,
                    from: &message.from,
                    time_ms: message.time_ms,
                    data,
                },
            );
            line::frame(out, &json);
        } else if self.pattern {
            chat::render(out, &format!("{} {}", message.room, message.from), data);
        } else {
            chat::render(out, &message.from, data);
        }
    }

    fn on_input(&mut self, input: Option<Input>) -> Step {
        match input {
            // A person who closes the input leaves. A pipe that ends has only nothing more to say.
            None if io::stdin().is_terminal() => self.quit(),
            None => {
                self.phase = Phase::Listening;
                Step::GoOn
            }
            Some(Input::Failed(reason)) => {
                notice(&format!("the input cannot be read any more: {reason}"));
                Step::GoOn
            }
            Some(Input::TooLong) => {
                notice(&format!(
                    "a line of more than {MAX_LINE_BYTES} bytes was not sent"
                ));
                Step::GoOn
            }
            Some(Input::Line(line)) => self.on_line(&line),
        }
    }

    fn on_line(&mut self, line: &[u8]) -> Step {
        let room = self.args.room.clone();
        match understand(line) {
            Request::Quit => return self.quit(),
            Request::Nothing => {}
            Request::Help => HELP.lines().for_each(notice),
            Request::Problem(problem) => notice(&problem),
            Request::Nick(name) => self.rename(name),
            Request::History(_) | Request::Publish(_) | Request::Who if self.pattern => {
                notice(&format!(
                    "{room} is a pattern; this needs a client in one room"
                ));
            }
            Request::History(limit) => {
                self.send(Command::History { room, limit });
            }
            Request::Who => {
                self.send(Command::Members { room });
            }
            Request::Publish(text) => self.publish(room, text),
        }
        Step::GoOn
    }

    fn publish(&mut self, room: String, text: &str) {
        let data = if self.args.raw_json {
            match RawValue::from_string(text.to_owned()) {
                Ok(data) => data,
                Err(error) => {
                    notice(&format!("a line that is not JSON was not sent: {error}"));
                    return;
                }
            }
        } else {
            json_string(text)
        };
        self.send(Command::publish(room, data));
    }

    fn rename(&mut self, name: &str) {
        if let Err(problem) = name::check(name) {
            notice(&problem.to_string());
            return;
        }
        self.send(Command::Hello {
            name: Some(name.to_owned()),
            token: None,
        });
    }

    fn send(&mut self, command: Command) -> Option<u64> {
        match self.client.send(command) {
            Ok(id) => Some(id),
            // The end is reported by the client's next event.
            Err(SendError::Ended) => None,
            Err(error) => {
                notice(&format!("not sent: {error}"));
                None
            }
        }
    }

    fn quit(&mut self) -> Step {
        self.phase = Phase::Quitting;
        Step::Quit
    }
}

/// How a member is shown: by name, else by client id.
fn shown(member: &Member) -> &str {
    member.name.as_deref().unwrap_or(&member.client)
}

/// `3 here: ann, bob, 17f0`, with those past the first [`MAX_NAMED`] counted only.
fn roll(members: &[Member], count: Option<u64>) -> String {
    let listed = members.len().min(MAX_NAMED);
    let count = count.unwrap_or(members.len() as u64);
    let names: Vec<&str> = members.iter().take(listed).map(shown).collect();
    let mut text = format!("{count} here");
    if !names.is_empty() {
        text.push_str(": ");
        text.push_str(&names.join(", "));
    }
    match count.saturating_sub(listed as u64) {
        0 => {}
        _ if names.is_empty() => {}
        more => text.push_str(&format!(" and {more} more")),
    }
    text
}

/// Ctrl-C, or the polite request to end that `timeout` and service managers send.
async fn asked_to_leave() {
    // Without a handler the signal ends the process by itself, which is all that is lost.
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    select! {
        () = interrupt => {}
        () = terminated() => {}
    }
}

#[cfg(unix)]
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};

    match signal(SignalKind::terminate()) {
        Ok(mut signals) => {
            signals.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(client: &str, name: Option<&str>) -> Member {
        Member {
            client: client.to_owned(),
            name: name.map(str::to_owned),
        }
    }

    #[test]
    fn a_roll_names_whom_it_can_and_counts_the_rest() {
        let members = [member("c1", Some("ann")), member("c2", None)];
        assert_eq!(roll(&members, Some(2)), "2 here: ann, c2");
        assert_eq!(roll(&members, Some(5)), "5 here: ann, c2 and 3 more");
        assert_eq!(roll(&members, None), "2 here: ann, c2");
        assert_eq!(roll(&[], Some(7)), "7 here");
    }

    #[test]
    fn the_arguments_parse_and_a_bad_url_is_a_usage_error() {
        use clap::Parser;

        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            args: JoinArgs,
        }

        let line = ["join", "wss://h", "news.*", "--json", "--history", "5"];
        let args = Line::try_parse_from(line).expect("valid").args;
        assert_eq!((args.history, args.json), (5, true));
        let error = Line::try_parse_from(["join", "h:1", "a"]).err();
        let error = error.expect("no scheme");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("udp://"), "{error}");
    }
}
