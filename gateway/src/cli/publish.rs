//! `roomwire publish`: one message, one answer, done.

use std::{
    io::{self, Read},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::terminal::{name_argument, notice, print, room_argument};
use crate::client::{
    Client, ClientOptions, Command, Event, MAX_INCOMING_BYTES, ServerEvent, json_string,
    url::ServerUrl,
};

const EXAMPLES: &str = "\
Examples:
  roomwire publish ws://localhost lobby 'hello, everyone'
  roomwire publish tcp://localhost lobby '{\"temperature\": 21.5}' --raw-json
  date | roomwire publish https://localhost:8443 lobby - --name clock
  roomwire publish udp://localhost orders new --key order-1207   # repeating it is harmless

Prints the message's offset in the room.
Exit codes: 0 published, 1 refused or not reached, 2 usage.";

/// Publish one message and wait until the gateway has taken it.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct PublishArgs {
    /// The gateway: ws://, wss://, tcp://, udp:// or http(s):// and HOST:PORT
    #[arg(value_name = "URL")]
    url: ServerUrl,
    /// The room
    #[arg(value_parser = room_argument)]
    room: String,
    /// The message, sent as a JSON string; `-` reads it from standard input
    #[arg(allow_hyphen_values = true)]
    data: String,
    /// DATA is JSON and sent as it stands
    #[arg(long, visible_alias = "json")]
    raw_json: bool,
    /// Idempotency key: of several messages with one key the gateway takes the first
    #[arg(long)]
    key: Option<String>,
    /// Publish under this name
    #[arg(long, value_parser = name_argument)]
    name: Option<String>,
    /// Trust only the certificate authorities in this PEM file
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Seconds to wait for the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u32,
}

/// Publishes and prints the offset on stdout.
///
/// # Errors
/// Where the gateway is not reached, does not answer in time, or refuses the message.
pub(super) async fn run(args: PublishArgs) -> anyhow::Result<ExitCode> {
    let data = match message(&args)? {
        Ok(data) => data,
        Err(problem) => {
            notice(&problem);
            return Ok(ExitCode::from(2));
        }
    };
    let limit = Duration::from_secs(args.timeout.into());
    let url = args.url.clone();
    let offset = timeout(limit, publish(args, data))
        .await
        .with_context(|| format!("{url} did not answer in {} s", limit.as_secs()))??;
    // The message is published, whoever reads this.
    print(format!("{offset}\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

async fn publish(args: PublishArgs, data: Box<RawValue>) -> anyhow::Result<u64> {
    let mut options = ClientOptions::new(args.url);
    options.name = args.name;
    options.ca = args.ca;
    options.reconnect = false;
    let mut client = Client::connect(options).await?;
    let command = Command::Publish {
        room: args.room,
        data,
        echo: false,
        key: args.key,
    };
    let id = client.send(command)?;
    let offset = loop {
        match client.next().await {
            Event::Server(ServerEvent::Published {
                id: Some(answered),
                offset,
                ..
            }) if answered == id => break offset,
            Event::Server(ServerEvent::Error { code, message, .. }) => {
                bail!("the gateway refused the message: {message} ({code})")
            }
            Event::Ended { reason, .. } => bail!("not published: {reason}"),
            Event::Connected { .. } | Event::Disconnected { .. } | Event::Server(_) => {}
        }
    };
    client.close().await;
    Ok(offset)
}

/// The message as JSON; the inner error is the person's mistake.
fn message(args: &PublishArgs) -> anyhow::Result<Result<Box<RawValue>, String>> {
    let text = if args.data == "-" {
        match read_message(io::stdin().lock()).context("cannot read standard input")? {
            Ok(text) => text,
            Err(problem) => return Ok(Err(problem)),
        }
    } else {
        args.data.clone()
    };
    if !args.raw_json {
        return Ok(Ok(json_string(&text)));
    }
    Ok(RawValue::from_string(text).map_err(|error| format!("DATA is not JSON: {error}")))
}

/// All of the input, without the line end that `echo` and its like put there.
fn read_message(input: impl Read) -> io::Result<Result<String, String>> {
    let mut bytes = Vec::new();
    // One byte more than is allowed, to tell the difference.
    let bound = MAX_INCOMING_BYTES as u64 + 1;
    input.take(bound).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_INCOMING_BYTES {
        let problem = format!("a message takes {MAX_INCOMING_BYTES} bytes at most");
        return Ok(Err(problem));
    }
    let Ok(mut text) = String::from_utf8(bytes) else {
        return Ok(Err("the message is not UTF-8".to_owned()));
    };
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(Ok(text))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: PublishArgs,
    }

    fn parse(rest: &[&str]) -> Result<PublishArgs, clap::Error> {
        let line = ["publish", "ws://localhost"].iter().chain(rest);
        Line::try_parse_from(line).map(|line| line.args)
    }

    fn check(rest: &[&str], expected: Result<&str, &str>) {
        let data = message(&parse(rest).expect("valid arguments")).expect("no input is read");
        match (data, expected) {
            (Ok(data), Ok(expected)) => assert_eq!(data.get(), expected),
            (Err(problem), Err(expected)) => assert!(problem.contains(expected), "{problem}"),
            (other, _) => panic!("{rest:?} gives {other:?}"),
        }
    }

    #[test]
    fn data_is_a_string_unless_it_is_said_to_be_json() {
        check(&["lobby", "a \"b\""], Ok(r#""a \"b\"""#));
        check(&["lobby", "{\"a\": 1}"], Ok(r#""{\"a\": 1}""#));
        check(&["lobby", "{\"a\": 1}", "--raw-json"], Ok("{\"a\": 1}"));
        check(&["lobby", "-5", "--json"], Ok("-5"));
        check(&["lobby", "{", "--raw-json"], Err("not JSON"));
    }

    #[test]
    fn wrong_arguments_are_usage_errors() {
        let error = |rest: &[&str]| parse(rest).expect_err("refused").exit_code();
        assert_eq!(error(&["news.*", "x"]), 2);
        assert_eq!(error(&["lobby"]), 2);
    }

    #[test]
    fn input_loses_one_line_end_and_is_bounded() {
        let read = |bytes: &[u8]| read_message(bytes).expect("memory can be read");
        assert_eq!(read(b"a\n\r\n").as_deref(), Ok("a\n"));
        assert_eq!(read(b"a").as_deref(), Ok("a"));
        assert_eq!(read(b"").as_deref(), Ok(""));
        assert!(read(b"\xff").is_err());
        assert!(read(&vec![b'a'; MAX_INCOMING_BYTES]).is_ok());
        assert!(read(&vec![b'a'; MAX_INCOMING_BYTES + 1]).is_err());
    }
}
