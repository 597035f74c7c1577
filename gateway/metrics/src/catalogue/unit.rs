//! What a figure counts. A new unit is one line here.

macro_rules! units {
    ($($unit:ident $word:literal;)+) => {
        /// What a figure counts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Unit {
            $(#[doc = concat!("Shown as `", $word, "`.")] $unit,)+
        }

        impl Unit {
            /// The word that stands for it in the page, in tables and in JSON.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$unit => $word,)+
                }
            }
        }
    };
}

units! {
    Bytes "bytes";
    Certificates "certificates";
    Commands "commands";
    Connections "connections";
    Datagrams "datagrams";
    Days "days";
    Deliveries "deliveries";
    Descriptors "descriptors";
    Errors "errors";
    Events "events";
    Files "files";
    Frames "frames";
    Handshakes "handshakes";
    Leases "leases";
    Lines "lines";
    Listeners "listeners";
    Members "members";
    Messages "messages";
    Micros "us";
    Millis "ms";
    Patterns "patterns";
    Requests "requests";
    Rooms "rooms";
    Seconds "s";
    Sessions "sessions";
    Streams "streams";
    Times "times";
    Turns "turns";
    Workers "workers";
}
