//! What the server does in one step: scripts in Lua, each in a file of its own.

use std::sync::LazyLock;

/// A script and its name at the server.
pub(crate) struct Script {
    code: &'static str,
    hash: LazyLock<String, fn() -> String>,
}

macro_rules! scripts {
    ($($(#[$docs:meta])* $name:ident = $file:literal;)+) => {
        $($(#[$docs])* pub(crate) static $name: Script =
            Script { code: include_str!($file), hash: LazyLock::new(|| redis::Script::new(include_str!($file)).get_hash().to_owned()) };)+

        /// All of them.
        pub(crate) static SCRIPTS: &[&Script] = &[$(&$name),+];
    };
}

scripts! {
    /// Stores events, each once.
    PUBLISH = "lua/publish.lua";
    /// Removes what is older or more than is retained.
    TRIM = "lua/trim.lua";
    /// Makes or joins a group.
    JOIN = "lua/join.lua";
    /// Takes deliveries that are due, or whose member is gone.
    CLAIM = "lua/claim.lua";
    /// Gives a member again what it did not get.
    RECOVER = "lua/recover.lua";
    /// Acknowledges, puts back and releases deliveries.
    SETTLE = "lua/settle.lua";
    /// Renews leases.
    EXTEND = "lua/extend.lua";
    /// Ends a member.
    LEAVE = "lua/leave.lua";
    /// Stores a dead letter, once.
    BURY = "lua/bury.lua";
    /// Deletes a group.
    DELETE = "lua/delete.lua";
    /// How much a group has before it.
    LAG = "lua/lag.lua";
    /// How much a reader has before it.
    TAIL = "lua/tail.lua";
}

impl Script {
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }
}
