//! From a file's text and the environment to a [`Config`].
//!
//! The walk over all keys (`setting.rs`) asks for each of them in the file and among the
//! `ROOMWIRE_SECTION_KEY` variables, notes where its value came from, and goes on after an error.
//! What was never asked for is unknown. Rules that concern values, not their form, are those of
//! `check.rs`; their violations come back by path and find their place here.

mod listener;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Display;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Config;
use super::check;
use super::error::{ConfigError, Place, Problem, shown};
use super::setting::{Setting, Visitor, nearest};

/// What every variable that sets a key begins with, before the section.
const PREFIX: &str = "ROOMWIRE_";

/// The sections. Variables of ours that name none of them (`ROOMWIRE_LOG`) are not keys.
const SECTIONS: [&str; 11] = [
    "acme",
    "admin",
    "gateway",
    "listener",
    "rooms",
    "websocket",
    "http",
    "http2",
    "rate",
    "uploads",
    "limits",
];

/// How messages call the file outside of all sections.
const TOP: &str = "the configuration";

/// Reads a configuration; `file` is what the text is called in messages.
pub(super) fn load(
    file: &str,
    text: &str,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Config, ConfigError> {
    let refused = |problems| ConfigError {
        file: file.to_owned(),
        text: text.to_owned(),
        problems,
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let mut problems: Vec<_> = errors.iter().map(syntax_problem).collect();
        problems.sort_by(|a, b| a.place.cmp(&b.place));
        return Err(refused(problems));
    }
    let mut loader = Loader::new(environment);
    let config = loader.read(document.get_ref());
    match loader.finish(&config) {
        problems if problems.is_empty() => Ok(config),
        problems => Err(refused(problems)),
    }
}

fn syntax_problem(error: &toml::de::Error) -> Problem {
    let place = error.span().map_or(Place::Nowhere, Place::span);
    Problem {
        place,
        message: format!("this is not TOML: {}", error.message()),
    }
}

/// The table whose keys are being asked for.
struct Frame<'a> {
    /// Dotted path, empty at the top.
    path: String,
    /// How messages call it.
    title: String,
    /// What variables that set its keys begin with; none do in entries of lists.
    variable: Option<String>,
    /// The table, where the file has it.
    table: Option<&'a DeTable<'a>>,
    /// Keys asked for so far.
    known: Vec<&'static str>,
}

struct Loader<'a> {
    /// The innermost table is last.
    frames: Vec<Frame<'a>>,
    /// Variables that name a section, and have not been asked for.
    environment: BTreeMap<String, OsString>,
    /// Names of all variables that were asked for.
    variables: BTreeSet<String>,
    /// Where the value of each path was given.
    places: BTreeMap<String, Place>,
    /// Keys of all sections, for one that stands in the wrong section.
    keys: Vec<(String, &'static str)>,
    /// Keys in the file that nobody asked for, to be judged when all keys are known.
    unknown: Vec<UnknownKey>,
    problems: Vec<Problem>,
}

struct UnknownKey {
    key: String,
    title: String,
    known: Vec<&'static str>,
    place: Place,
}

impl<'a> Loader<'a> {
    fn new(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut variables = BTreeMap::new();
        for (name, value) in environment {
            if let Ok(name) = name.into_string()
                && names_a_section(&name)
            {
                variables.insert(name, value);
            }
        }
        Self {
            frames: Vec::new(),
            environment: variables,
            variables: BTreeSet::new(),
            places: BTreeMap::new(),
            keys: Vec::new(),
            unknown: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn read(&mut self, document: &'a DeTable<'a>) -> Config {
        let mut config = Config::default();
        self.frames.push(Frame {
            path: String::new(),
            title: TOP.to_owned(),
            variable: Some(PREFIX.to_owned()),
            table: Some(document),
            known: Vec::new(),
        });
        config.visit(self);
        config.listeners = self.listeners(document);
        config
            .limits
            .derive(|key| self.places.contains_key(&format!("limits.{key}")));
        self.leave();
        config
    }

    /// Adds what only the whole can tell, and gives all problems in the order of the file.
    fn finish(mut self, config: &Config) -> Vec<Problem> {
        for unknown in std::mem::take(&mut self.unknown) {
            let message = self.unknown_key_message(&unknown);
            self.problems.push(Problem {
                place: unknown.place,
                message,
            });
        }
        for (variable, value) in std::mem::take(&mut self.environment) {
            let message = self.unknown_variable_message(&variable);
            let value = value.to_string_lossy().into_owned();
            self.problems.push(Problem {
                place: Place::Environment { variable, value },
                message,
            });
        }
        // A value that was not understood has its default for now: rules about it tell nothing.
        if self.problems.is_empty() {
            for violation in check::violations(config) {
                let place = self
                    .places
                    .get(&violation.path)
                    .cloned()
                    .unwrap_or(Place::Nowhere);
                self.problems.push(Problem {
                    place,
                    message: violation.message,
                });
            }
        }
        self.problems.sort_by(|a, b| a.place.cmp(&b.place));
        self.problems
    }

    /// Reads `key` of the present table, and `variable` in its place where that is set.
    fn named<T: Setting>(&mut self, key: &'static str, variable: Option<String>, value: &mut T) {
        let Some(frame) = self.frames.last_mut() else {
            return;
        };
        frame.known.push(key);
        let path = join(&frame.path, key);
        self.keys.push((frame.title.clone(), key));
        if let Some(found) = frame.table.and_then(|table| table.get(key)) {
            let place = Place::span(found.span());
            self.place(path.clone(), place.clone());
            match T::from_toml(found.get_ref()) {
                Some(read) => *value = read,
                None => self.problem(place, mismatch::<T>(key, found.get_ref())),
            }
        }
        if let Some(variable) = variable {
            self.overridden(path, variable, value);
        }
    }

    /// Reads `variable`, where it is set, in place of what the file says at `path`.
    fn overridden<T: Setting>(&mut self, path: String, variable: String, value: &mut T) {
        self.variables.insert(variable.clone());
        let Some(given) = self.environment.remove(&variable) else {
            return;
        };
        let text = given.to_string_lossy().into_owned();
        let place = Place::Environment {
            variable: variable.clone(),
            value: text.clone(),
        };
        self.place(path, place.clone());
        match given.to_str().and_then(T::from_text) {
            Some(read) => *value = read,
            None => self.problem(place, text_mismatch::<T>(&variable, &text)),
        }
    }

    /// Notes that a key of the present table is known.
    fn note_key(&mut self, key: &'static str) {
        if let Some(frame) = self.frames.last_mut() {
            frame.known.push(key);
        }
    }

    /// A key of the present table as it is in the file, and its path.
    fn find(&self, key: &str) -> Option<(String, &'a Spanned<DeValue<'a>>)> {
        let frame = self.frames.last()?;
        Some((join(&frame.path, key), frame.table?.get(key)?))
    }

    fn place(&mut self, path: String, place: Place) {
        self.places.insert(path, place);
    }

    fn problem(&mut self, place: Place, message: String) {
        self.problems.push(Problem { place, message });
    }

    /// Ends the present table: what was not asked for in it is unknown.
    fn leave(&mut self) {
        let Some(frame) = self.frames.pop() else {
            return;
        };
        let keys = frame.table.into_iter().flat_map(|table| table.keys());
        for key in keys.filter(|key| !frame.known.contains(&key.get_ref().as_ref())) {
            self.unknown.push(UnknownKey {
                key: key.get_ref().to_string(),
                title: frame.title.clone(),
                known: frame.known.clone(),
                place: Place::span(key.span()),
            });
        }
    }

    fn unknown_key_message(&self, unknown: &UnknownKey) -> String {
        let UnknownKey {
            key, title, known, ..
        } = unknown;
        if title == TOP && key == "auth" {
            return "[auth] is not available in this version: remove it, and bind loopback \
                    addresses only, or say `open = true` in [gateway] if anyone may use the gateway"
                .to_owned();
        }
        let start = format!("unknown key `{}` in {title}", shown(key));
        if let Some(near) = nearest(key, known.iter().copied()) {
            return format!("{start}; did you mean `{near}`?");
        }
        if let Some((section, _)) = self.keys.iter().find(|(_, known)| known == key) {
            return format!("{start}; it belongs in {section}");
        }
        format!("{start}; known are `{}`", known.join("`, `"))
    }

    fn unknown_variable_message(&self, variable: &str) -> String {
        let start = format!("{} is no key of the configuration", shown(variable));
        // Without the prefix, which would make all names alike.
        let known = self
            .variables
            .iter()
            .filter_map(|known| known.strip_prefix(PREFIX));
        let word = variable.strip_prefix(PREFIX).unwrap_or(variable);
        match nearest(word, known) {
            Some(near) => format!("{start}; did you mean {PREFIX}{near}?"),
            None => {
                format!("{start}; it must be {PREFIX}SECTION_KEY, or {PREFIX}LISTENER_NAME_KEY")
            }
        }
    }
}

impl Visitor for Loader<'_> {
    fn setting<T: Setting>(&mut self, key: &'static str, value: &mut T) {
        let prefix = self.frames.last().and_then(|frame| frame.variable.as_ref());
        let variable = prefix.map(|prefix| format!("{prefix}{}", shouted(key)));
        self.named(key, variable, value);
    }

    fn bounded<T: Setting + Display + PartialOrd>(
        &mut self,
        key: &'static str,
        value: &mut T,
        _min: T,
        _max: T,
    ) {
        self.setting(key, value);
    }

    fn table(&mut self, key: &'static str, visit: impl FnOnce(&mut Self)) {
        let Some(frame) = self.frames.last_mut() else {
            return;
        };
        frame.known.push(key);
        let path = join(&frame.path, key);
        let prefix = frame.variable.as_ref();
        let variable = prefix.map(|prefix| format!("{prefix}{}_", shouted(key)));
        let found: Option<&Spanned<DeValue<'_>>> = frame.table.and_then(|table| table.get(key));
        let table = found.and_then(|value| value.get_ref().as_table());
        if let Some(value) = found
            && table.is_none()
        {
            let found = described(value.get_ref());
            let message = format!(
                "`{key}` must be a table, as [{}] begins one, not {found}",
                titled(&path)
            );
            self.problem(Place::span(value.span()), message);
        }
        self.frames.push(Frame {
            title: format!("[{}]", titled(&path)),
            variable,
            path,
            table,
            known: Vec::new(),
        });
        visit(self);
        self.leave();
    }

    fn tables<T: Clone>(
        &mut self,
        key: &'static str,
        items: &mut Vec<T>,
        new: &T,
        visit: impl Fn(&mut T, &mut Self),
    ) {
        self.note_key(key);
        let Some((path, value)) = self.find(key) else {
            return;
        };
        let place = Place::span(value.span());
        self.place(path.clone(), place.clone());
        let found = value.get_ref();
        let Some(list) = found.as_array().filter(|list| list.iter().all(is_table)) else {
            let found = described(found);
            let message = format!("`{key}` must be tables that begin with [[{path}]], not {found}");
            return self.problem(place, message);
        };
        for (index, item) in list.iter().enumerate() {
            let path = format!("{path}.{index}");
            self.place(path.clone(), Place::span(item.span()));
            self.frames.push(Frame {
                title: format!("[[{}]]", titled(&path)),
                variable: None,
                path,
                table: item.get_ref().as_table(),
                known: Vec::new(),
            });
            let mut item = new.clone();
            visit(&mut item, self);
            items.push(item);
            self.leave();
        }
    }
}

fn is_table(value: &Spanned<DeValue<'_>>) -> bool {
    value.get_ref().is_table()
}

/// A table's path as a file writes it: entries of lists have no numbers there.
fn titled(path: &str) -> String {
    let parts = path.split('.');
    let named = parts.filter(|part| !part.bytes().all(|byte| byte.is_ascii_digit()));
    named.collect::<Vec<_>>().join(".")
}

fn names_a_section(variable: &str) -> bool {
    let rest = variable.strip_prefix(PREFIX);
    rest.and_then(|rest| rest.split('_').next())
        .is_some_and(|word| SECTIONS.iter().any(|section| word == shouted(section)))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// As environment variables are spelled: upper case, `_` for what separates words.
pub(super) fn shouted(text: &str) -> String {
    text.chars()
        .map(|c| {
            if matches!(c, '.' | '-') {
                '_'
            } else {
                c.to_ascii_uppercase()
            }
        })
        .collect()
}

fn mismatch<T: Setting>(key: &str, found: &DeValue<'_>) -> String {
    match found.as_str() {
        Some(text) => text_mismatch::<T>(&format!("`{}`", shown(key)), text),
        None => format!(
            "`{}` must be {}, not {}",
            shown(key),
            T::expected(),
            described(found)
        ),
    }
}

fn text_mismatch<T: Setting>(name: &str, text: &str) -> String {
    if T::is_planned(text) {
        let available = T::expected();
        return format!(
            "{name} \"{text}\" is not available in this version; available: {available}"
        );
    }
    let message = format!("{name} must be {}, not \"{}\"", T::expected(), shown(text));
    match T::hint(text) {
        Some(hint) => format!("{message}; {hint}"),
        None => message,
    }
}

/// A value as messages call it.
fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{}\"", shown(text)),
        DeValue::Integer(integer) => shown(&integer.to_string()),
        DeValue::Float(float) => shown(float.as_str()),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
