//! Prices of the file as Stripe takes them: whole numbers of a currency's smallest unit.

use tollgate_domain::Price;

/// Currencies without a smaller unit.
const WHOLE: [&str; 15] =
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"];

/// Currencies without a smaller unit that Stripe takes in hundredths all the same.
const WHOLE_IN_HUNDREDTHS: [&str; 2] = ["ISK", "UGX"];

/// Currencies of a thousand units, of which Stripe takes whole tens.
const THOUSANDTHS: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];

/// An amount that nobody can be charged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unchargeable {
    /// The currency has no such fractions.
    #[error("{price} cannot be charged: {currency} is charged in steps of {step}")]
    TooFine {
        /// As the file has it.
        price: String,
        /// Its currency.
        currency: String,
        /// The smallest difference between two amounts, such as `0.01`.
        step: &'static str,
    },
    /// It is beyond what can be counted.
    #[error("{price} is too much")]
    TooMuch {
        /// As the file has it.
        price: String,
    },
}

/// How a currency is counted: decimals of the smallest unit, and of the smallest step.
fn decimals(currency: &str) -> (usize, usize, &'static str) {
    if WHOLE.contains(&currency) {
        (0, 0, "1")
    } else if WHOLE_IN_HUNDREDTHS.contains(&currency) {
        (2, 0, "1")
    } else if THOUSANDTHS.contains(&currency) {
        (3, 2, "0.01")
    } else {
        (2, 2, "0.01")
    }
}

/// A price in the smallest unit of its currency, as Stripe takes it.
///
/// # Errors
/// The amount has fractions that the currency has not, or is beyond counting.
pub fn minor_units(price: &Price) -> Result<u64, Unchargeable> {
    let (unit, step, written_step) = decimals(&price.currency);
    let (whole, fraction) = price.amount.split_once('.').unwrap_or((&price.amount, ""));
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > step {
        let (price, currency) = (price.to_string(), price.currency.clone());
        return Err(Unchargeable::TooFine { price, currency, step: written_step });
    }
    let digits = format!("{whole}{fraction:0<unit$}");
    digits.parse().map_err(|_| Unchargeable::TooMuch { price: price.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_counted_as_each_currency_is() {
        let cases = [
            ("29 USD/month", Ok(2_900)),
            ("29.5 EUR/month", Ok(2_950)),
            ("290.50 EUR/year", Ok(29_050)),
            ("290.500 EUR/year", Ok(29_050)),
            ("0.01 GBP/month", Ok(1)),
            ("0 USD/month", Ok(0)),
            ("1_000 JPY/year", Ok(1_000)),
            ("1000.00 JPY/year", Ok(1_000)),
            ("5 KRW/month", Ok(5)),
            ("5 ISK/month", Ok(500)),
            ("5000 UGX/month", Ok(500_000)),
            ("5.12 KWD/month", Ok(5_120)),
            ("5.120 KWD/month", Ok(5_120)),
            ("29 HUF/month", Ok(2_900)),
            ("29.005 USD/month", Err("0.01")),
            ("5.124 KWD/month", Err("0.01")),
            ("10.5 JPY/month", Err("1")),
            ("10.5 ISK/month", Err("1")),
        ];
        for (text, expected) in cases {
            let counted = minor_units(&Price::parse(text).expect(text)).map_err(|error| match error {
                Unchargeable::TooFine { step, .. } => step,
                Unchargeable::TooMuch { .. } => "too much",
            });
            assert_eq!(counted, expected, "{text}");
        }
    }

    #[test]
    fn an_amount_beyond_counting_is_refused() {
        let price = Price::parse("18446744073709551615 USD/month").expect("the largest count");
        assert!(matches!(minor_units(&price), Err(Unchargeable::TooMuch { .. })));
    }
}
