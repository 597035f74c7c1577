//! Close codes (RFC 6455 §7.4, and the IANA registry for those after 1011).

/// The purpose of the connection is fulfilled.
pub const NORMAL: u16 = 1000;
/// The gateway shuts down, or the page was left.
pub const GOING_AWAY: u16 = 1001;
/// The peer broke the protocol.
pub const PROTOCOL_ERROR: u16 = 1002;
/// A kind of message that is not accepted, such as binary.
pub const UNSUPPORTED: u16 = 1003;
/// Text that is not UTF-8.
pub const INVALID_DATA: u16 = 1007;
/// The peer broke a rule that has no code of its own.
pub const POLICY: u16 = 1008;
/// A message larger than the limit.
pub const TOO_BIG: u16 = 1009;
/// The gateway failed.
pub const INTERNAL: u16 = 1011;
/// The gateway is overloaded; come back later.
pub const TRY_AGAIN: u16 = 1013;
/// The peer reads more slowly than its rooms speak, and its outbox overflowed. Our own, from the
/// range for private agreement.
pub const SLOW: u16 = 3008;

/// Whether a peer may send `code` in a close frame. Not: codes that only report a local state
/// (1005, 1006, 1015), 1004 and those not yet assigned (RFC 6455 §7.4.1 and §7.4.2).
pub const fn may_receive(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// The code to answer a close frame with: the same one, or none to none (RFC 6455 §5.5.1).
pub const fn reply_to(received: Option<u16>) -> Option<u16> {
    match received {
        Some(code) if may_receive(code) => Some(code),
        Some(_) => Some(PROTOCOL_ERROR),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_are_reserved_or_unassigned_may_not_be_received() {
        let allowed: Vec<u16> = (0..=u16::MAX).filter(|code| may_receive(*code)).collect();
        let mut expected: Vec<u16> = (1000..=1003).chain(1007..=1014).collect();
        expected.extend(3000..=4999);
        assert_eq!(allowed, expected);
    }

    #[test]
    fn every_code_that_we_send_may_be_received() {
        for code in [
            NORMAL,
            GOING_AWAY,
            PROTOCOL_ERROR,
            UNSUPPORTED,
            INVALID_DATA,
            POLICY,
            TOO_BIG,
            INTERNAL,
            TRY_AGAIN,
            SLOW,
        ] {
            assert!(may_receive(code), "{code}");
            assert_eq!(reply_to(Some(code)), Some(code));
        }
        assert_eq!(reply_to(None), None);
        assert_eq!(reply_to(Some(1005)), Some(PROTOCOL_ERROR));
    }
}
