//! Rounds: everybody in a contest has a turn in each, so that whatever the machine does besides is done to all.

use crate::{
    contest::{Contest, Fault, Result, Rival, Side, Turn, Unit},
    spread::{Spread, median},
};
use std::time::Duration;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// How many rounds count, after one that does not.
    pub rounds: usize,
    /// What part of a contest's events is used.
    pub share: f64,
}

/// A turn that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(100);

impl Effort {
    /// What the tables are made with.
    pub const FULL: Self = Self { rounds: 9, share: 1.0 };
    /// For a look.
    pub const QUICK: Self = Self { rounds: 7, share: 0.25 };
}

/// What a contest showed of one rival.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The name of the contest.
    pub name: String,
    /// The rival.
    pub against: String,
    /// Our figure: the median of all rounds.
    pub ours: f64,
    /// Theirs.
    pub theirs: f64,
    /// What the figures are.
    pub unit: Unit,
    /// Of the ratios of each round; above 1 ours is better.
    pub ratio: Spread,
    /// What the median is meant to reach.
    pub target: Option<f64>,
}

impl Comparison {
    /// Whether the median is below its target.
    #[must_use]
    pub fn misses(&self) -> bool {
        self.target.is_some_and(|target| self.ratio.median < target)
    }
}

/// Runs a contest. What cannot be measured is given to `faults` and left out; where that is our own side, all is.
pub async fn run(contest: Contest, effort: Effort, faults: &mut Vec<String>) -> Vec<Comparison> {
    let name = contest.name.clone();
    compare(contest, effort, faults).await.unwrap_or_else(|fault| {
        faults.push(format!("{name}: {fault}"));
        Vec::new()
    })
}

async fn compare(contest: Contest, effort: Effort, faults: &mut Vec<String>) -> Result<Vec<Comparison>> {
    let Contest { name, unit, events, ours, rivals, .. } = contest;
    let events = ((events as f64 * effort.share) as u64).max(1);
    let mut ours = Competitor::prepared(ours, events).await?;
    let mut others = Vec::new();
    for Rival { name: against, target, side } in rivals {
        match Competitor::prepared(side, events).await {
            Ok(competitor) => others.push((against, target, competitor)),
            Err(fault) => faults.push(format!("{name} against {against}: {fault}")),
        }
    }
    for round in 0..effort.rounds {
        // Who is first changes, so that nobody always runs in the wake of the same.
        let turns = others.len() + 1;
        for place in 0..turns {
            match (place + round) % turns {
                0 => ours.play(events).await?,
                other => others[other - 1].2.try_play(events).await,
            }
        }
    }
    faults.extend(others.iter().filter_map(|(against, _, other)| Some(format!("{name} against {against}: {}", other.fault.as_ref()?))));
    others.retain(|(_, _, other)| other.fault.is_none());
    let compare = |(against, target, theirs): (String, _, Competitor)| {
        let ratios: Vec<f64> = ours.figures.iter().zip(&theirs.figures).map(|(ours, theirs)| unit.ratio(*ours, *theirs)).collect();
        Comparison {
            name: name.clone(),
            against,
            ours: median(&ours.figures),
            theirs: median(&theirs.figures),
            unit,
            ratio: Spread::of(&ratios),
            target,
        }
    };
    Ok(others.into_iter().map(compare).collect())
}

struct Competitor {
    turn: Turn,
    figures: Vec<f64>,
    /// Why it has no more turns.
    fault: Option<Fault>,
}

impl Competitor {
    /// One that has warmed up.
    async fn prepared(side: Side, events: u64) -> Result<Self> {
        let turn = tokio::time::timeout(PATIENCE, side.prepare()).await??;
        let mut competitor = Self { turn, figures: Vec::new(), fault: None };
        competitor.play(events).await?;
        competitor.figures.clear();
        Ok(competitor)
    }

    /// Has a turn, unless an earlier one failed.
    async fn try_play(&mut self, events: u64) {
        if self.fault.is_none() {
            self.fault = self.play(events).await.err();
        }
    }

    async fn play(&mut self, events: u64) -> Result<()> {
        let figure =
            tokio::time::timeout(PATIENCE, (self.turn)(events)).await.map_err(|_| format!("it took longer than {PATIENCE:?}"))??;
        self.figures.push(figure);
        Ok(())
    }
}
