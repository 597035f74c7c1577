//! Who is in a room, as the hub sees it: an id that the gateway packed and a name to show.

use std::sync::Arc;

/// A session, as the gateway numbers them. Never the room's business who that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// One member as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Unique among the sessions of this gateway.
    pub id: MemberId,
    /// The name the member chose, if any.
    pub name: Option<Arc<str>>,
}

/// Some of a room's members, in no promised order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberPage {
    /// At most as many as were asked for.
    pub members: Vec<Member>,
    /// How many there are in all; watchers do not count.
    pub total: usize,
}
