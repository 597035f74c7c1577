//! Inflating as RFC 1951 says it: bit by bit, one symbol at a time, slowly.
//!
//! The second opinion on `websocket::deflate`, after Mark Adler's `puff`, which takes exactly what
//! zlib takes. It also tells how far back a stream refers, which no inflater asks about that has
//! room for the whole. Knows nothing of messages but [`message`], which has the rules of RFC 7692.

/// What came of some bytes.
#[derive(Debug, Default)]
pub(super) struct Inflated {
    /// What came out before the end or the fault, and not much more than was asked for.
    pub(super) out: Vec<u8>,
    /// The farthest distance back.
    pub(super) reach: usize,
    pub(super) end: End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    /// At the end of a message.
    #[default]
    Whole,
    /// There is a fault, or it is cut off.
    Invalid,
    /// More came out than was asked for.
    Enough,
}

/// Inflates a message: RFC 7692 §7.2.2 appends four bytes to it. Streams that end are followed by
/// others, which do not see them; the message ends where one could begin.
pub(super) fn message(compressed: &[u8], enough: usize) -> Inflated {
    // The bytes that the sender left out, and then an empty final block, after which a stream has
    // ended if there was one.
    let tail = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];
    let bytes = [compressed, &tail].concat();
    let fixed = (Code::fixed_literals(), Code::fixed_distances());
    let mut inflated = Inflated::default();
    let mut start = 0;
    // Some senders end with a final block and nothing behind it.
    while start < bytes.len() && start != compressed.len() {
        let mut stream = Stream {
            input: bytes.get(start..).unwrap_or_default(),
            position: 0,
            base: inflated.out.len(),
            enough,
            fixed: &fixed,
            inflated: &mut inflated,
        };
        match stream.blocks() {
            Ok(()) => start += stream.position.div_ceil(8),
            Err(end) => {
                inflated.end = end;
                return inflated;
            }
        }
    }
    inflated
}

struct Stream<'i> {
    input: &'i [u8],
    /// In bits.
    position: usize,
    /// Where in the output the stream began.
    base: usize,
    enough: usize,
    /// RFC 1951 §3.2.6: the codes for literals and for distances.
    fixed: &'i (Code, Code),
    inflated: &'i mut Inflated,
}

type Step<T> = Result<T, End>;

impl Stream<'_> {
    fn blocks(&mut self) -> Step<()> {
        loop {
            let last = self.bits(1)? == 1;
            match self.bits(2)? {
                0 => self.stored()?,
                1 => self.coded(&self.fixed.0, &self.fixed.1)?,
                2 => self.dynamic()?,
                _ => return Err(End::Invalid),
            }
            if last {
                return Ok(());
            }
        }
    }

    fn bits(&mut self, count: usize) -> Step<usize> {
        let mut value = 0;
        for place in 0..count {
            let byte = self.input.get(self.position / 8).ok_or(End::Invalid)?;
            value |= usize::from(byte >> (self.position % 8) & 1) << place;
            self.position += 1;
        }
        Ok(value)
    }

    fn put(&mut self, byte: usize) -> Step<()> {
        if self.inflated.out.len() > self.enough {
            return Err(End::Enough);
        }
        self.inflated.out.push(byte.to_le_bytes()[0]);
        Ok(())
    }

    fn stored(&mut self) -> Step<()> {
        self.position = self.position.next_multiple_of(8);
        let length = self.bits(16)?;
        if self.bits(16)? != length ^ 0xffff {
            return Err(End::Invalid);
        }
        for _ in 0..length {
            let byte = self.bits(8)?;
            self.put(byte)?;
        }
        Ok(())
    }

    fn dynamic(&mut self) -> Step<()> {
        const ORDER: [usize; 19] = [
            16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
        ];
        let literals = self.bits(5)? + 257;
        let distances = self.bits(5)? + 1;
        let lengths = self.bits(4)? + 4;
        if literals > 286 || distances > 30 {
            return Err(End::Invalid);
        }
        let mut of_lengths = [0; 19];
        for place in &ORDER[..lengths] {
            of_lengths[*place] = self.bits(3)?;
        }
        let code = Code::new(&of_lengths, Completeness::Needed)?;
        let mut all = Vec::new();
        while all.len() < literals + distances {
            let (length, times) = match self.symbol(&code)? {
                16 => (*all.last().ok_or(End::Invalid)?, 3 + self.bits(2)?),
                17 => (0, 3 + self.bits(3)?),
                18 => (0, 11 + self.bits(7)?),
                length => (length, 1),
            };
            all.resize(all.len() + times, length);
        }
        if all.len() > literals + distances || all[256] == 0 {
            return Err(End::Invalid);
        }
        let (literals, distances) = all.split_at(literals);
        let literals = Code::new(literals, Completeness::OrOneBit)?;
        let distances = Code::new(distances, Completeness::OrOneBit)?;
        self.coded(&literals, &distances)
    }

    fn coded(&mut self, literals: &Code, distances: &Code) -> Step<()> {
        loop {
            let symbol = self.symbol(literals)?;
            match symbol {
                0..=255 => self.put(symbol)?,
                256 => return Ok(()),
                257..=285 => self.copy(symbol - 257, distances)?,
                _ => return Err(End::Invalid),
            }
        }
    }

    fn copy(&mut self, symbol: usize, distances: &Code) -> Step<()> {
        let length = match symbol {
            28 => 258,
            _ => 3 + self.stretched(symbol, 4)?,
        };
        let symbol = self.symbol(distances)?;
        if symbol > 29 {
            return Err(End::Invalid);
        }
        let distance = 1 + self.stretched(symbol, 2)?;
        if distance > self.inflated.out.len() - self.base {
            return Err(End::Invalid);
        }
        self.inflated.reach = self.inflated.reach.max(distance);
        for _ in 0..length {
            let byte = self.inflated.out[self.inflated.out.len() - distance];
            self.put(byte.into())?;
        }
        Ok(())
    }

    /// RFC 1951 §3.2.5: each power of two is divided into `steps` symbols, and the symbol's extra
    /// bits follow.
    fn stretched(&mut self, symbol: usize, steps: usize) -> Step<usize> {
        if symbol < 2 * steps {
            return Ok(symbol);
        }
        let extra = symbol / steps - 1;
        Ok(((steps + symbol % steps) << extra) + self.bits(extra)?)
    }

    fn symbol(&mut self, code: &Code) -> Step<usize> {
        let (mut word, mut first, mut index) = (0, 0, 0);
        for count in &code.counts[1..] {
            word |= self.bits(1)?;
            if word < first + count {
                return Ok(code.symbols[index + word - first]);
            }
            index += count;
            first = (first + count) << 1;
            word <<= 1;
        }
        Err(End::Invalid)
    }
}

enum Completeness {
    Needed,
    /// A single symbol has one bit, and half of the code is left.
    OrOneBit,
}

/// A canonical Huffman code.
struct Code {
    /// How many words have so many bits.
    counts: [usize; 16],
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[usize], completeness: Completeness) -> Step<Self> {
        let mut counts = [0; 16];
        for length in lengths {
            counts[*length] += 1;
        }
        let mut symbols: Vec<usize> = (0..lengths.len()).filter(|it| lengths[*it] > 0).collect();
        symbols.sort_by_key(|symbol| lengths[*symbol]);
        let mut left = 1_usize;
        for count in &counts[1..] {
            left = (left << 1).checked_sub(*count).ok_or(End::Invalid)?;
        }
        let used = lengths.len() - counts[0];
        let excused = match completeness {
            Completeness::Needed => false,
            Completeness::OrOneBit => used == 0 || (used == 1 && counts[1] == 1),
        };
        if left > 0 && !excused {
            return Err(End::Invalid);
        }
        Ok(Self { counts, symbols })
    }

    fn fixed_literals() -> Self {
        let mut lengths = [8; 288];
        lengths[144..256].fill(9);
        lengths[256..280].fill(7);
        Self::new(&lengths, Completeness::Needed).expect("RFC 1951 §3.2.6 gives it")
    }

    fn fixed_distances() -> Self {
        Self::new(&[5; 32], Completeness::Needed).expect("RFC 1951 §3.2.6 gives it")
    }
}
