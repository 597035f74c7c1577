//! Commands and other JSON: `serde_json` decides what is JSON and what its fields are, and a plain
//! reading of the rules what a command is.
//!
//! Input: the text. The one exception: `serde_json` refuses numbers that no float can hold, which
//! to us are form only; where it does, nothing more can be compared.

use std::fmt;

use roomwire_protocols::code::ErrorCode;
use roomwire_protocols::command::{
    self, Command, Envelope, MAX_COMMAND_DEPTH, MAX_KEY_BYTES, Mode, Publication, Since,
};
use roomwire_protocols::room::Subject;
use roomwire_protocols::{event, json, line, name, room};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// Checks one input.
pub fn run(data: &[u8]) {
    let parsed = command::parse(data);
    let published = command::parse_publication(data);
    let Ok(text) = std::str::from_utf8(data) else {
        assert_eq!(parsed.map_err(|it| it.code), Err(ErrorCode::BadUtf8));
        assert_eq!(published.map_err(|it| it.code), Err(ErrorCode::BadUtf8));
        assert!(json::check(data).is_err());
        return;
    };
    assert_eq!(parsed, command::parse_text(text));
    if let Err(error) = &parsed {
        assert!(!error.message.is_empty() && error.message.len() < 1000);
        assert!(ErrorCode::ALL.contains(&error.code));
    }
    if let Ok(envelope) = &parsed {
        what_was_read_can_be_passed_on(envelope);
    }
    strings_survive(text);

    let tree = serde_json::from_str::<Value>(text);
    if let Err(error) = &tree
        && error.to_string().starts_with("number out of range")
    {
        return;
    }
    assert_eq!(
        json::check(data).is_ok(),
        tree.is_ok(),
        "{:?}",
        json::check(data)
    );
    let object = match tree {
        Ok(Value::Object(_)) if depth(text) <= usize::from(MAX_COMMAND_DEPTH) => text,
        _ => {
            assert_eq!(parsed.map_err(|it| it.code), Err(ErrorCode::BadJson));
            assert_eq!(published.map_err(|it| it.code), Err(ErrorCode::BadJson));
            return;
        }
    };
    let members: Members<'_> = serde_json::from_str(object).expect("it is an object");
    assert_eq!(parsed.map_err(|it| it.code), members.envelope());
    assert_eq!(published.map_err(|it| it.code), members.publication());
}

/// What a publisher wrote becomes part of what others read.
fn what_was_read_can_be_passed_on(envelope: &Envelope<'_>) {
    let Command::Publish { room, data, .. } = &envelope.command else {
        return;
    };
    let message = event::MessageView {
        room,
        offset: u64::MAX,
        from: room,
        time_ms: 0,
        data,
    };
    let (mut history, mut framed) = (Vec::new(), Vec::new());
    event::history(
        &mut history,
        envelope.id,
        room,
        &"e",
        [message; 2].into_iter(),
    );
    line::frame(&mut framed, &history);
    assert_eq!(framed.iter().filter(|byte| **byte == b'\n').count(), 1);
    assert!(json::check(&framed).is_ok());
    let Ok(tree) = serde_json::from_slice::<Value>(&framed) else {
        return assert!(
            serde_json::from_slice::<Value>(data).is_err(),
            "a huge number"
        );
    };
    let found = &tree["messages"][1];
    assert_eq!(found["room"], **room);
    assert_eq!(
        found["data"],
        serde_json::from_slice::<Value>(data).expect("it was read above")
    );
}

/// Strings are written and read back, and read as `serde_json` reads them.
fn strings_survive(text: &str) {
    let mut written = Vec::new();
    json::push_string(&mut written, text);
    assert_eq!(json::unescape(&written).as_deref(), Some(text));
    assert_eq!(
        serde_json::from_slice::<String>(&written).ok().as_deref(),
        Some(text)
    );
    let theirs = serde_json::from_str::<String>(text).ok();
    assert_eq!(
        json::unescape(text.as_bytes()).as_deref(),
        theirs.as_deref()
    );
}

/// How deep arrays and objects are nested in a JSON text.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// The members of an object as they stand, and as often.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsTheyStand;

        impl<'de> Visitor<'de> for AsTheyStand {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(AsTheyStand)
    }
}

const KNOWN: [&str; 19] = [
    "cookie",
    "data",
    "echo",
    "epoch",
    "error",
    "from",
    "id",
    "key",
    "limit",
    "mode",
    "name",
    "offset",
    "presence",
    "request",
    "room",
    "since",
    "timeout_ms",
    "token",
    "type",
];

type Read<T> = Result<T, ErrorCode>;

impl<'a> Members<'a> {
    fn raw(&self, field: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(name, _)| name == field);
        found.map(|(_, value)| value.get())
    }

    /// A field that is there and not `null`, read as what it must be.
    fn read<T: Deserialize<'a>>(&self, field: &str) -> Read<Option<T>> {
        match self.raw(field) {
            None | Some("null") => Ok(None),
            Some(raw) => serde_json::from_str(raw)
                .map(Some)
                .map_err(|_| ErrorCode::BadField),
        }
    }

    fn need<T: Deserialize<'a>>(&self, field: &str) -> Read<T> {
        self.read(field)?.ok_or(ErrorCode::BadField)
    }

    /// A number below 2^64 in digits only; `serde_json` reads `-0` as a float.
    fn number(&self, field: &str) -> Read<Option<u64>> {
        self.read(field)
    }

    fn once(&self) -> Read<()> {
        let twice = |field: &&str| self.0.iter().filter(|(name, _)| name == field).count() > 1;
        if KNOWN.iter().any(twice) {
            return Err(ErrorCode::BadField);
        }
        Ok(())
    }

    fn data(&self) -> Read<&'a [u8]> {
        self.raw("data")
            .map(str::as_bytes)
            .ok_or(ErrorCode::BadField)
    }

    fn text<T: From<String>>(&self, field: &str) -> Read<Option<T>> {
        Ok(self.read::<String>(field)?.map(T::from))
    }

    fn member_name<T: From<String>>(&self, field: &str) -> Read<Option<T>> {
        let found = self.read::<String>(field)?;
        match found.as_deref().map(name::check) {
            Some(Err(_)) => Err(ErrorCode::InvalidName),
            _ => Ok(found.map(T::from)),
        }
    }

    fn key<T: From<String>>(&self) -> Read<Option<T>> {
        match self.read::<String>("key")? {
            Some(key) if key.is_empty() || key.len() > MAX_KEY_BYTES => Err(ErrorCode::BadField),
            key => Ok(key.map(T::from)),
        }
    }

    fn subject<T: From<String>>(&self) -> Read<T> {
        let found: String = self.need("room")?;
        match room::check(&found) {
            Ok(_) => Ok(found.into()),
            Err(_) => Err(ErrorCode::InvalidRoom),
        }
    }

    fn room<T: From<String>>(&self) -> Read<T> {
        let found: String = self.subject()?;
        match room::check(&found) {
            Ok(Subject::Pattern) => Err(ErrorCode::PatternNotAllowed),
            _ => Ok(found.into()),
        }
    }

    fn since(&self) -> Read<Option<Since<'a>>> {
        let Some(raw) = self.read::<&RawValue>("since")? else {
            return Ok(None);
        };
        let bad = |_| ErrorCode::BadField;
        let members: Members<'_> = serde_json::from_str(raw.get()).map_err(bad)?;
        members.once()?;
        Ok(Some(Since {
            epoch: members.need::<String>("epoch")?.into(),
            offset: members.number("offset")?.ok_or(ErrorCode::BadField)?,
        }))
    }

    fn envelope(&self) -> Read<Envelope<'a>> {
        let id = self.number("id")?;
        self.once()?;
        let kind: String = self.need("type")?;
        let command = match &kind[..] {
            "hello" => Command::Hello {
                token: self.text("token")?,
                name: self.member_name("name")?,
            },
            "history" => Command::History {
                room: self.room()?,
                limit: self.number("limit")?,
                since: self.since()?,
            },
            "join" => Command::Join {
                room: self.subject()?,
                since: self.since()?,
                presence: self.read("presence")?.unwrap_or(false),
                cookie: self.text("cookie")?,
            },
            "leave" => Command::Leave {
                room: self.subject()?,
            },
            "members" => Command::Members { room: self.room()? },
            "ping" => Command::Ping,
            "publish" => Command::Publish {
                room: self.room()?,
                data: self.data()?,
                echo: self.read("echo")?.unwrap_or(true),
                key: self.key()?,
            },
            "reply" => self.reply()?,
            "request" => Command::Request {
                room: self.room()?,
                data: self.data()?,
                mode: self.mode()?,
                timeout_ms: self.number("timeout_ms")?,
            },
            _ => return Err(ErrorCode::UnknownType),
        };
        Ok(Envelope { id, command })
    }

    fn reply(&self) -> Read<Command<'a>> {
        let request = self.need::<String>("request")?.into();
        let error = self.text("error")?;
        Ok(Command::Reply {
            request,
            data: match self.data() {
                Err(_) if error.is_some() => b"null",
                data => data?,
            },
            error,
        })
    }

    fn mode(&self) -> Read<Mode> {
        Ok(match self.read::<String>("mode")?.as_deref() {
            None | Some("all_settled") => Mode::AllSettled,
            Some("all") => Mode::All,
            Some("any") => Mode::Any,
            Some("race") => Mode::Race,
            Some(_) => return Err(ErrorCode::BadField),
        })
    }

    fn publication(&self) -> Read<Publication<'a>> {
        self.once()?;
        Ok(Publication {
            data: self.data()?,
            from: self.member_name("from")?,
            key: self.key()?,
        })
    }
}

/// Every command, faults of every kind, and JSON that is no command.
pub fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        r#"{"type":"hello","id":1,"token":"t","name":"Ada L."}"#,
        r#"{"type":"join","room":"news.>","since":{"epoch":"e","offset":7},"presence":true}"#,
        r#"{"type":"join","room":"r","cookie":"5oIpLxFP29O-Qr1tBsHRvw"}"#,
        r#"{"type":"leave","room":"a.*"}"#,
        r#"{"type":"publish","room":"r","data":{"a":[1,-0.5e+3,null]},"echo":false,"key":"k"}"#,
        r#"{"room":"\u00e9\ud83c\udf89","data":" \n\"\\\/","type":"publish","id":18446744073709551615}"#,
        r#"{"type":"history","room":"r","limit":10,"since":null}"#,
        r#"{"type":"members","room":"r"}"#,
        r#"{"type":"request","room":"r","data":1,"mode":"race","timeout_ms":100}"#,
        r#"{"type":"reply","request":"1","error":"no"}"#,
        r#"{"type":"reply","request":"1","data":true}"#,
        r#"{"type":"ping","id":-0}"#,
        r#"{"type":"ping","type":"ping","id":1.0}"#,
        r#"{"type":"publish","room":"a.b","data":1e999}"#,
        r#"{"type":"publish","room":"news.*","data":1}"#,
        r#"{"type":"history","room":"news.sport.>"}"#,
        r#"{"type":"request","room":"*","data":1}"#,
        r#"{"type":"members","room":"a.>.b"}"#,
        r#"{"type":"hello","name":"a\u0000b"}"#,
        r#" {"data" : [ ] , "from" : "shop" , "key" : "" } "#,
        r#""\ud800""#,
        r#""\ud7ff\ue000\ud800\udc00\udbff\udfff""#,
        r#""\ud800\udbff""#,
        r#""\ud800\ue000""#,
        r#""\ud83c\u0041""#,
        r#""\udc00""#,
        "[[[[{}]]]]",
        "nul",
    ];
    let mut seeds: Vec<Vec<u8>> = texts.map(|text| text.as_bytes().to_vec()).into();
    for deep in [118, 119, 120, 126, 127, 128] {
        let (open, close) = ("[".repeat(deep), "]".repeat(deep));
        seeds.push(format!(r#"{{"type":"publish","room":"r","data":{open}{close}}}"#).into());
    }
    for length in [0, MAX_KEY_BYTES, MAX_KEY_BYTES + 1] {
        let key = "k".repeat(length);
        seeds.push(format!(r#"{{"type":"publish","room":"r","data":1,"key":"{key}"}}"#).into());
    }
    seeds.push(b"{\"type\":\"\xff\"}".to_vec());
    seeds
}
