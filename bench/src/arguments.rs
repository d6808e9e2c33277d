//! The command line.

/// What to run and how to show it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    /// Only lines of the table that contain this.
    pub filter: Option<String>,
    /// One JSON object for each comparison.
    pub json: bool,
    /// Fewer events in each round.
    pub quick: bool,
    /// Write `docs/performance.md` and its plots, too.
    pub report: bool,
    /// Only name what there is.
    pub list: bool,
}

/// How it is called.
pub const USAGE: &str = "\
Usage: cargo xtask bench [FILTER] [--json] [--quick] [--report] [--list]

  FILTER     only comparisons whose name and rival, joined by a space, contain this
  --json     one object for each comparison
  --quick    a quarter of the events in each round, and no counting of what clients of servers take; cargo xtask bench also builds
             faster, without optimizing across crates
  --report   write docs/performance.md and its plots, too
  --list     name the comparisons without running them";

impl Arguments {
    /// Reads them.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self::default();
        for argument in arguments {
            match argument.as_str() {
                "--json" => parsed.json = true,
                "--quick" => parsed.quick = true,
                "--report" => parsed.report = true,
                "--list" => parsed.list = true,
                option if option.starts_with("--") => return Err(format!("there is no option {option}")),
                _ if parsed.filter.is_some() => return Err(format!("one filter is enough, and {argument:?} is a second")),
                _ => parsed.filter = Some(argument),
            }
        }
        if parsed.report && parsed.filter.is_some() {
            return Err("a report needs all comparisons, so --report takes no filter".to_owned());
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_filter_and_options_stand_in_any_order() {
        let expected = Arguments { filter: Some("nats".to_owned()), json: true, quick: true, ..Arguments::default() };
        assert_eq!(parse("--json nats --quick"), Ok(expected));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(parse("--jsno").unwrap_err().contains("--jsno"));
        assert!(parse("a b").unwrap_err().contains("\"b\""));
        assert!(parse("a --report").unwrap_err().contains("filter"));
    }
}
