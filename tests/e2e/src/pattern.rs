//! A long body that is made and checked without being kept.

/// The pattern repeats after so many bytes: a prime, so that no buffer's length is a multiple of it.
const PERIOD: usize = 251;
/// Bytes compared at once.
const BLOCK: usize = PERIOD * 256;

/// A stream of bytes, each known by its position.
#[derive(Clone, Debug)]
pub struct Pattern {
    block: Vec<u8>,
    at: u64,
    sound: bool,
}

impl Default for Pattern {
    fn default() -> Self {
        let period = u8::try_from(PERIOD).expect("a byte");
        Self { block: (0..period).cycle().take(BLOCK + PERIOD).collect(), at: 0, sound: true }
    }
}

impl Pattern {
    /// The next bytes, at most this many.
    pub fn next(&mut self, length: u64) -> &[u8] {
        let start = self.phase();
        let length = usize::try_from(length).map_or(BLOCK, |length| length.min(BLOCK));
        self.at += length as u64;
        &self.block[start..start + length]
    }

    /// Checks that these are the next bytes.
    pub fn check(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(BLOCK) {
            self.sound &= self.next(part.len() as u64) == part;
        }
    }

    /// How many bytes came so far, if all were the right ones.
    pub fn sound_length(&self) -> Option<u64> {
        self.sound.then_some(self.at)
    }

    fn phase(&self) -> usize {
        usize::try_from(self.at % PERIOD as u64).expect("smaller than the period")
    }
}
