//! What the admin page stands on: the token that guards it and the operators' part of the API, and the
//! figures of the last ten minutes.
//!
//! Nothing else depends on this module but HTTP's endpoints for it: the gateway would run without.
//! Looking costs the workers nothing: one thread ([`feed`]) reads the counter page once a second for all
//! who look, as any other reader does. Read `token.rs` for who is let in, `feed.rs` for what they see.

mod feed;
mod frame;
mod series;
mod token;

pub(crate) use feed::{Feed, Feeder, Frame, Viewer};
pub(crate) use token::Guard;
