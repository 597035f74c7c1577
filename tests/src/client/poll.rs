//! A long poll: history and waiting in one.

use std::collections::VecDeque;

use super::http::{Answer, Http};
use crate::event::Message;

/// Seconds that each poll waits; more than a message takes, less than a test has.
const WAIT_S: u64 = 15;

/// Somebody who asks again and again.
#[derive(Debug)]
pub struct LongPoll {
    http: Http,
    room: String,
    epoch: String,
    offset: u64,
    taken: VecDeque<Message>,
}

impl LongPoll {
    /// Begins at the newest message of a room that exists.
    pub async fn open(mut http: Http, room: &str) -> Self {
        let answer = http
            .get(&format!("/v1/rooms/{room}/messages?limit=0"))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let page = answer.event();
        Self::since(http, room, page.string("epoch"), page.number("offset"))
    }

    /// Goes on where somebody stopped.
    pub fn since(http: Http, room: &str, epoch: &str, offset: u64) -> Self {
        Self {
            http,
            room: room.to_owned(),
            epoch: epoch.to_owned(),
            offset,
            taken: VecDeque::new(),
        }
    }

    /// Where it stands.
    pub fn position(&self) -> (&str, u64) {
        (&self.epoch, self.offset)
    }

    /// Asks once, waiting for so many seconds.
    pub async fn ask(&mut self, wait_s: u64) -> Answer {
        let (room, epoch, offset) = (&self.room, &self.epoch, self.offset);
        let path = format!("/v1/rooms/{room}/messages?since={epoch}:{offset}&wait={wait_s}");
        self.http.get(&path).await
    }

    /// The next message; an empty answer, which a poll gets when its wait is over, is an error.
    pub async fn message(&mut self) -> Message {
        if self.taken.is_empty() {
            let answer = self.ask(WAIT_S).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let page = answer.event();
            self.taken.extend(page.messages());
            page.string("epoch").clone_into(&mut self.epoch);
        }
        let message = self.taken.pop_front().expect("the poll ended empty");
        self.offset = message.offset;
        message
    }

    /// Gives the connection back.
    pub fn into_http(self) -> Http {
        self.http
    }
}
