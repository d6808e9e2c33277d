//! The conformance suite catches what it is for: each bus here breaks one promise, and the case about that promise fails, with words that
//! are about it. The same case passes on the same bus without the fault.

mod harness;

mod content;
mod declarations;
mod delivery;
mod failures;
mod figures;
mod given_up;
mod lifecycle;
mod order;
mod publishing;
mod requests;
mod routing;
