//! Seeded random numbers.

/// `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators"): the same
/// seed gives the same numbers on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Creates the generator for this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        usize::try_from(self.draw() % bound).expect("it is below a usize")
    }

    /// A duration in milliseconds from 0 to `millis`.
    pub fn millis(&mut self, millis: i64) -> i64 {
        let bound = u64::try_from(millis).expect("a duration is not negative") + 1;
        i64::try_from(self.draw() % bound).expect("it is at most an i64")
    }

    /// True in `permille` of 1,000 cases.
    pub fn chance(&mut self, permille: u32) -> bool {
        self.draw() % 1000 < u64::from(permille)
    }
}
