//! Cookies that prove that a UDP peer receives at the address that it sends from.
//!
//! A cookie is an HMAC over the address and a bucket of time, so the gateway keeps nothing for a
//! peer that has proved nothing. It says nothing about who the peer is. Time is an argument; the
//! key must be random and may change at any start. The words around it: `challenge` and `join` in
//! [`crate::event`] and [`crate::command`].

use std::fmt;

use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Seconds in a bucket. A cookie is good in its bucket and the next: for 30 to 60 s. Chosen: a
/// lease's length, so a join can be repeated as long as the lease that it renews lasts.
pub const BUCKET_S: u64 = 30;

/// Characters of a cookie's text.
pub const TEXT_LENGTH: usize = 22;

/// Half of SHA-256's output is kept: RFC 2104 §5 asks for at least that.
const LENGTH: usize = 16;

/// The secret that cookies are made with.
#[derive(Clone)]
pub struct CookieKey(Hmac<Sha256>);

impl fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieKey(…)")
    }
}

/// A cookie. Displays as [`TEXT_LENGTH`] characters of base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie([u8; LENGTH]);

impl fmt::Display for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Base64Display::new(&self.0, &URL_SAFE_NO_PAD).fmt(f)
    }
}

impl CookieKey {
    /// `secret` comes from the system's random source.
    pub fn new(secret: [u8; 32]) -> Self {
        // RFC 2104 §2: a key shorter than a block is filled up with zeros. Said here, so that
        // no length has to be checked at run time.
        let mut block = [0; 64];
        for (byte, secret) in block.iter_mut().zip(secret) {
            *byte = secret;
        }
        Self(<Hmac<Sha256> as Mac>::new(&block.into()))
    }

    /// The cookie for a peer at `address`: any bytes that stand for the IP address and the port.
    /// `now_s` is any clock in seconds that never goes back.
    pub fn mint(&self, address: &[u8], now_s: u64) -> Cookie {
        let mut cookie = [0; LENGTH];
        let tag = self
            .authenticate(address, now_s / BUCKET_S)
            .finalize()
            .into_bytes();
        for (kept, byte) in cookie.iter_mut().zip(tag) {
            *kept = byte;
        }
        Cookie(cookie)
    }

    /// Whether `cookie` was minted for `address` in this bucket of time or the one before. Takes
    /// the same time for any two wrong cookies of the right length.
    pub fn verify(&self, address: &[u8], cookie: &str, now_s: u64) -> bool {
        let mut tag = [0; LENGTH];
        if cookie.len() != TEXT_LENGTH
            || URL_SAFE_NO_PAD.decode_slice(cookie, &mut tag) != Ok(LENGTH)
        {
            return false;
        }
        let bucket = now_s / BUCKET_S;
        let minted_in = |bucket| {
            self.authenticate(address, bucket)
                .verify_truncated_left(&tag)
                .is_ok()
        };
        minted_in(bucket) || bucket.checked_sub(1).is_some_and(minted_in)
    }

    /// The bucket has a fixed length and stands first, so no two inputs run together.
    fn authenticate(&self, address: &[u8], bucket: u64) -> Hmac<Sha256> {
        self.0
            .clone()
            .chain_update(bucket.to_be_bytes())
            .chain_update(address)
    }
}
