//! Where events of each type go: looked up in the trie once, then kept until subscriptions change.

use super::{ChainId, ConsumerId};
use eventbus_core::{EventType, Pattern};
use eventbus_runtime::{Router, metrics};
use std::collections::HashMap;

/// How many event types keep a route ready. Beyond that all are forgotten and found again.
const MAX_ROUTES: usize = 4096;

/// Where an event goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Chain(ChainId),
    /// The queue of this consumer.
    Queue(ConsumerId),
}

/// A route by its index. Good until the routes are changed.
pub(super) type RouteId = usize;

#[derive(Default)]
pub(super) struct Routes {
    router: Router<Target>,
    known: Vec<Route>,
    of_type: HashMap<EventType, RouteId, foldhash::fast::RandomState>,
}

pub(super) struct Route {
    pub(super) targets: Vec<Target>,
    pub(super) published: ::metrics::Counter,
}

impl Routes {
    pub(super) fn add(&mut self, patterns: &[Pattern], target: Target) {
        patterns.iter().for_each(|pattern| self.router.insert(pattern, target));
        self.forget();
    }

    pub(super) fn remove(&mut self, patterns: &[Pattern], target: Target) {
        patterns.iter().for_each(|pattern| self.router.remove(pattern, target));
        self.forget();
    }

    /// The route of an event type.
    pub(super) fn find(&mut self, event_type: &EventType) -> RouteId {
        if let Some(route) = self.of_type.get(event_type) {
            return *route;
        }
        if self.known.len() >= MAX_ROUTES {
            self.forget();
        }
        let route = self.known.len();
        self.known.push(Route { targets: self.router.matching(event_type), published: metrics::published(crate::BACKEND, event_type) });
        self.of_type.insert(event_type.clone(), route);
        route
    }

    pub(super) fn get(&self, route: RouteId) -> &Route {
        &self.known[route]
    }

    fn forget(&mut self) {
        self.known.clear();
        self.of_type.clear();
    }
}
