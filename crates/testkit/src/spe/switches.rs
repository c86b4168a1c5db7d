//! The ways in which the simulator can behave.

use std::time::Duration;

/// The ways in which the simulator can behave; the default is the friendliest one that is thought likely.
#[derive(Debug, Clone)]
pub struct Switches {
    /// How work that takes time is answered.
    pub reply: Reply,
    /// How long a freeze takes. Longer than the client waits, it is a late success.
    pub freeze_delay: Duration,
    /// How long a thaw takes.
    pub thaw_delay: Duration,
    /// How many of the next freezes are refused.
    pub refuse_freezes: u32,
    /// How many of the next thaws are refused.
    pub refuse_thaws: u32,
    /// How many of the next restarts are refused.
    pub refuse_restarts: u32,
    /// How many of the next stops are refused.
    pub refuse_stops: u32,
    /// How many of the next starts are refused.
    pub refuse_starts: u32,
    /// How long a stop takes. Longer than the client waits, it hangs, and comes late.
    pub stop_delay: Duration,
    /// How long a verification takes.
    pub verify_delay: Duration,
    /// What a verification finds, if anything.
    pub damage: Option<&'static str>,
    /// Whether a start succeeds, although the instance does not come up.
    pub dies_at_start: bool,
    /// Whether `GetInstances` says `starting` of a running instance.
    pub odd_status: bool,
    /// Where instances are made, whatever base directory they were to have.
    pub creates_in: Option<String>,
    /// Where `GetStores` says that stores stand, whatever instance is asked.
    pub stores_below: Option<String>,
    /// The function whose effect takes place but whose reply never arrives.
    pub lose_reply_of: Option<&'static str>,
    /// Whether `cancel-async` ends an operation that has not taken effect.
    pub cancellable: bool,
    /// Whether `GetInstances` says `frozen` of a frozen instance, instead of `running`.
    pub shows_frozen: bool,
    /// How calls to a frozen instance are answered.
    pub while_frozen: WhileFrozen,
    /// Whether freezing a frozen instance, or thawing a running one, is an error.
    pub refuse_repeated: bool,
    /// When a frozen instance thaws by itself, as one frozen by VSS does.
    pub auto_thaw: Option<Duration>,
    /// What an instance filter matches.
    pub filter: Filter,
    /// Functions that this version does not have.
    pub without: Vec<&'static str>,
    /// What replies consist of.
    pub body: Body,
    /// Whether replies begin with a byte order mark.
    pub bom: bool,
    /// Whether replies come in chunks, instead of with a length.
    pub chunked: bool,
    /// An HTTP status with which every request is answered, such as 403.
    pub http_status: Option<u16>,
    /// Whether tokens are forgotten at once: get-status answers 404.
    pub forget_tokens: bool,
    /// Whether the server listens.
    pub reachable: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            reply: Reply::Immediate,
            freeze_delay: Duration::ZERO,
            thaw_delay: Duration::ZERO,
            refuse_freezes: 0,
            refuse_thaws: 0,
            refuse_restarts: 0,
            refuse_stops: 0,
            refuse_starts: 0,
            stop_delay: Duration::ZERO,
            verify_delay: Duration::ZERO,
            damage: None,
            dies_at_start: false,
            odd_status: false,
            creates_in: None,
            stores_below: None,
            lose_reply_of: None,
            cancellable: false,
            shows_frozen: false,
            while_frozen: WhileFrozen::Refuse,
            refuse_repeated: false,
            auto_thaw: None,
            filter: Filter::Exact,
            without: Vec::new(),
            body: Body::Json,
            bom: false,
            chunked: false,
            http_status: None,
            forget_tokens: false,
            reachable: true,
        }
    }
}

/// How work that takes time is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// When it is done.
    Immediate,
    /// At once, with a token to ask for the outcome.
    Token,
}

/// How calls to a frozen instance are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhileFrozen {
    /// As always.
    Answer,
    /// With an error.
    Refuse,
    /// When it is thawed.
    Hang,
}

/// What an instance filter matches, besides `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// The instance of this id.
    Exact,
    /// Every instance whose id begins with it.
    Prefix,
}

/// What replies consist of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// What was asked for.
    Json,
    /// A page for people, as a proxy in between shows.
    Html,
    /// Spaces that do not end before the client does (or 64 MiB).
    Endless,
}
