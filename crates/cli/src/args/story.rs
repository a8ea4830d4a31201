//! A subscription's life as people write it: `trial -> active -> past_due -> wait 8d -> recovered`.
//!
//! What each step does at Stripe, and whether it can follow the one before it, is not judged here.

use std::fmt;

use super::time::Span;

/// The steps of a life, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Story(pub(crate) Vec<Step>);

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A subscription begins with a trial.
    Trial,
    /// A subscription begins and is paid, or its trial ends and it is paid.
    Active,
    /// Its next period cannot be charged.
    PastDue,
    /// The card works again, and what is owed is paid.
    Recovered,
    /// It ends now.
    Canceled,
    /// Its trial ends without a way to pay.
    Paused,
    /// It goes on after a pause.
    Resumed,
    /// Stripe gives charging up.
    Unpaid,
    /// Its last payment is given back whole.
    Refunded,
    /// Its last payment is disputed.
    Disputed,
    /// That dispute is won.
    DisputeWon,
    /// It is changed to this plan, a higher one.
    Upgraded(String),
    /// It is changed to this plan, a lower one.
    Downgraded(String),
    /// Time passes.
    Wait(Span),
}

/// Every step as it is written, for the advice.
const GOOD: &str = "trial, active, past_due, recovered, canceled, paused, resumed, unpaid, refunded, disputed, \
                    dispute_won, upgraded PLAN, downgraded PLAN, wait 3d (or 12h, 30m, 90s, 2w)";

/// More than anybody reads.
const STEPS_MAX: usize = 200;

impl Story {
    /// Reads a story.
    ///
    /// # Errors
    /// A step is none; the error names those that are.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.replace('→', "->");
        let steps: Vec<Step> = text.split("->").map(Step::parse).collect::<Result<_, _>>()?;
        if steps.len() > STEPS_MAX {
            return Err(format!("{} steps are too many: at most {STEPS_MAX}", steps.len()));
        }
        Ok(Self(steps))
    }
}

impl Step {
    fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let plain = |word: &str| {
            Some(match word {
                "trial" => Self::Trial,
                "active" => Self::Active,
                "past_due" => Self::PastDue,
                "recovered" => Self::Recovered,
                "canceled" => Self::Canceled,
                "paused" => Self::Paused,
                "resumed" => Self::Resumed,
                "unpaid" => Self::Unpaid,
                "refunded" => Self::Refunded,
                "disputed" => Self::Disputed,
                "dispute_won" => Self::DisputeWon,
                _ => return None,
            })
        };
        match words[..] {
            [] => Err(format!("a step between two arrows is empty; steps are {GOOD}")),
            ["upgraded", plan] => Ok(Self::Upgraded(plan.to_owned())),
            ["downgraded", plan] => Ok(Self::Downgraded(plan.to_owned())),
            [word @ ("upgraded" | "downgraded")] => Err(format!("`{word}` needs a plan, such as `{word} team`")),
            ["wait", span] => match Span::parse(span) {
                Ok(span) if span.micros > 0 => Ok(Self::Wait(span)),
                Ok(_) => Err("`wait` needs a time above zero, such as `wait 3d`".to_owned()),
                Err(advice) => Err(format!("`wait {span}`: {advice}")),
            },
            ["wait"] => Err("`wait` needs a time, such as `wait 3d`".to_owned()),
            [word] => plain(word).ok_or_else(|| format!("there is no step `{word}`; steps are {GOOD}")),
            _ => Err(format!(
                "`{}` is not one step: put `->` between steps; steps are {GOOD}",
                words.join(" ").chars().take(60).collect::<String>()
            )),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Self::Trial => "trial",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Recovered => "recovered",
            Self::Canceled => "canceled",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Unpaid => "unpaid",
            Self::Refunded => "refunded",
            Self::Disputed => "disputed",
            Self::DisputeWon => "dispute_won",
            Self::Upgraded(plan) => return write!(formatter, "upgraded {plan}"),
            Self::Downgraded(plan) => return write!(formatter, "downgraded {plan}"),
            Self::Wait(span) => return write!(formatter, "wait {span}"),
        };
        formatter.write_str(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_is_read_as_it_is_written() {
        for (text, shown) in [
            ("trial", "trial"),
            ("trial -> active -> past_due -> recovered", "trial -> active -> past_due -> recovered"),
            ("trial->active", "trial -> active"),
            ("active → wait 3d → upgraded team", "active -> wait 3d -> upgraded team"),
            ("active -> wait  36h -> downgraded pro -> canceled", "active -> wait 36h -> downgraded pro -> canceled"),
            (
                "trial -> paused -> resumed -> unpaid -> refunded -> disputed -> dispute_won -> wait 90s",
                "trial -> paused -> resumed -> unpaid -> refunded -> disputed -> dispute_won -> wait 90s",
            ),
        ] {
            let story = Story::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let steps: Vec<String> = story.0.iter().map(ToString::to_string).collect();
            assert_eq!(steps.join(" -> "), shown);
        }
    }

    #[test]
    fn a_bad_step_is_told_with_the_good_ones() {
        for (text, part) in [
            ("", "is empty; steps are trial,"),
            ("trial ->", "is empty"),
            ("trial -> activ", "no step `activ`; steps are trial, active,"),
            ("trial active", "put `->` between"),
            ("upgraded", "such as `upgraded team`"),
            ("active -> wait", "such as `wait 3d`"),
            ("active -> wait 3", "`wait 3`: write a number and a unit"),
            ("active -> wait 0s", "above zero"),
        ] {
            let error = Story::parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(Story::parse(&vec!["wait 1s"; 201].join("->")).is_err());
    }
}
