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

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &[u8] = &[127, 0, 0, 1, 0x1f, 0x90];

    fn key() -> CookieKey {
        CookieKey::new(std::array::from_fn(|index| u8::try_from(index).unwrap()))
    }

    #[test]
    fn a_cookie_is_good_in_its_bucket_and_the_next() {
        let check = |minted_s: u64, now_s: u64, good: bool| {
            let cookie = key().mint(ADDRESS, minted_s).to_string();
            assert_eq!(
                key().verify(ADDRESS, &cookie, now_s),
                good,
                "{minted_s} at {now_s}"
            );
        };
        check(0, 0, true);
        check(0, 59, true);
        check(0, 60, false);
        check(29, 59, true);
        check(30, 29, false);
        check(3_000, 3_059, true);
        check(3_000, 3_060, false);
        check(3_000, 2_999, false);
        check(u64::MAX, u64::MAX, true);
    }

    #[test]
    fn a_cookie_is_bound_to_address_and_key() {
        let cookie = key().mint(ADDRESS, 100).to_string();
        assert!(key().verify(ADDRESS, &cookie, 100));
        for at in 0..ADDRESS.len() {
            let mut other = ADDRESS.to_vec();
            other[at] ^= 1;
            assert!(!key().verify(&other, &cookie, 100));
        }
        assert!(!key().verify(&ADDRESS[..5], &cookie, 100));
        assert!(!CookieKey::new([7; 32]).verify(ADDRESS, &cookie, 100));
    }

    #[test]
    fn the_text_is_22_characters_of_base64url_and_any_change_spoils_it() {
        let cookie = key().mint(ADDRESS, 100).to_string();
        assert_eq!(cookie.len(), TEXT_LENGTH);
        for at in 0..cookie.len() {
            for replacement in ["A", "B", "_", "+", "=", " "] {
                let mut other = cookie.clone();
                other.replace_range(at..=at, replacement);
                assert_eq!(
                    key().verify(ADDRESS, &other, 100),
                    other == cookie,
                    "{other}"
                );
            }
        }
        let longer = format!("{cookie}AA");
        for wrong in [
            "",
            "A",
            &cookie[..21],
            &longer,
            "éééééééééée",
            "🎉🎉🎉🎉🎉AA",
        ] {
            assert!(!key().verify(ADDRESS, wrong, 100), "{wrong}");
        }
    }

    #[test]
    fn a_cookie_is_a_truncated_hmac_of_bucket_and_address() {
        // Computed with Python: hmac.new(bytes(range(32)), (3).to_bytes(8, "big") + address,
        // "sha256").digest()[:16].
        assert_eq!(
            key().mint(ADDRESS, 100).to_string(),
            "5oIpLxFP29O-Qr1tBsHRvw"
        );
    }

    #[test]
    fn a_key_does_not_show_itself() {
        assert_eq!(format!("{:?}", key()), "CookieKey(…)");
    }
}
