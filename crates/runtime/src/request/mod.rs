//! Request and reply: one request, the replies of several responders.
//!
//! A request is an event like any other; its attribute `replyto` says where replies are awaited. Replies take the backend's
//! [`ReplyTransport`](eventbus_core::ReplyTransport) and never enter the log of events.

mod gather;
mod respond;

pub use self::{
    gather::{Gather, Replies, Reply},
    respond::{Fallible, IntoReply, IntoResponder, Plain, Responder},
};

pub(crate) use self::gather::request;

/// The attribute of a request that says where replies are awaited.
pub const REPLY_TO: &str = "replyto";
/// The attribute of a reply that names the responder.
pub const RESPONDER: &str = "responder";
/// The attribute of a reply whose responder failed: why.
pub const REPLY_ERROR: &str = "replyerror";
/// The type of replies.
pub const REPLY_TYPE: &str = "eventbus.reply";
