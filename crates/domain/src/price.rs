//! Prices as shown: `29 USD/month`. They never gate anything.

use std::fmt;

/// How often a price is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// Every month.
    Month,
    /// Every year.
    Year,
}

/// An amount, a currency and an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// A decimal number as the operator wrote it, underscores removed.
    pub amount: String,
    /// ISO 4217, three capital letters.
    pub currency: String,
    /// How often.
    pub interval: Interval,
}

/// A text that is no price.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write an amount, a currency and an interval, such as `29 USD/month` or `290.50 EUR/year`")]
pub struct InvalidPrice;

impl Price {
    /// Reads `AMOUNT CURRENCY/INTERVAL`.
    ///
    /// # Errors
    /// The text has another form.
    pub fn parse(text: &str) -> Result<Self, InvalidPrice> {
        let (amount, rest) = text.trim().split_once(' ').ok_or(InvalidPrice)?;
        let (currency, interval) = rest.trim().split_once('/').ok_or(InvalidPrice)?;
        let (whole, fraction) = amount.split_once('.').map_or((amount, None), |(whole, rest)| (whole, Some(rest)));
        let fraction_is_good = fraction
            .is_none_or(|digits| (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()));
        let currency_is_good = currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase());
        if crate::rate::parse_count(whole).is_none() || !fraction_is_good || !currency_is_good {
            return Err(InvalidPrice);
        }
        let interval = match interval.trim() {
            "month" => Interval::Month,
            "year" => Interval::Year,
            _ => return Err(InvalidPrice),
        };
        Ok(Self { amount: amount.replace('_', ""), currency: currency.into(), interval })
    }
}

impl fmt::Display for Price {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interval = match self.interval {
            Interval::Month => "month",
            Interval::Year => "year",
        };
        write!(formatter, "{} {}/{interval}", self.amount, self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_prices() {
        for text in ["29 USD/month", "0 EUR/month", "290.50 EUR/year", "1_000 JPY/year"] {
            assert_eq!(Price::parse(text).expect(text).to_string(), text.replace('_', ""));
        }
        for text in ["", "29", "29 usd/month", "29 USD", "29 USD/week", "-1 USD/month", "1. USD/month", "$29/month"] {
            assert_eq!(Price::parse(text), Err(InvalidPrice), "{text}");
        }
    }
}
