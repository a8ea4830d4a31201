//! What `/metrics` said, as figures.

/// One scrape.
#[derive(Clone, Debug)]
pub struct Metrics {
    text: String,
}

impl Metrics {
    /// Of the text that was served.
    pub fn new(text: String) -> Self {
        Self { text }
    }

    /// The text itself.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The sum over the series of this name that have all these labels; 0 where there is none.
    ///
    /// # Panics
    /// When a value is no number.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.text
            .lines()
            .filter_map(|line| {
                let rest = line.strip_prefix(name)?;
                let (series, value) = rest.rsplit_once(' ')?;
                let has = |(label, wanted): &(&str, &str)| {
                    let pair = format!("{label}=\"{wanted}\"");
                    series.contains(&format!("{{{pair}")) || series.contains(&format!(",{pair}"))
                };
                let is_named = series.is_empty() || series.starts_with('{');
                (is_named && labels.iter().all(has)).then(|| value.parse::<f64>().expect("a number"))
            })
            .sum()
    }

    /// The same as a count.
    ///
    /// # Panics
    /// When it is not one.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of tests are small")]
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let sum = self.sum(name, labels);
        assert!(sum >= 0.0 && sum.fract() == 0.0, "{name} is no count: {sum}");
        sum as u64
    }
}
