//! Telephone numbers: international ones by their calling code, national ones by the plans that are given.

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};

use super::characters::{at, before, is_word, run};
use super::numbers::{Group, Run};
use super::spans::{Kind, Span};
use super::tables::{NumberingPlan, Tables};

// E.164 allows 15 digits ("00" in front of them makes 17); fewer than 7 are not told from any other number.
const FEWEST_DIGITS: usize = 7;
const MOST_DIGITS: usize = 17;
const MOST_GROUPS: usize = 7;
const LONGEST_CALLING_CODE: usize = 3;

struct Plan {
    prefix: Vec<u8>,
    required: bool,
    lengths: u32,
    shapes: Vec<dense::DFA<Vec<u32>>>,
    north_american: bool,
}

/// Finds telephone numbers.
pub struct Phones {
    plans: Vec<Plan>,
    north_american: bool,
    /// By calling code: how many digits follow it, a bit for each number.
    calling_codes: Vec<u32>,
}

/// The digits of some groups, and how long each group is.
#[derive(Default)]
struct Candidate {
    digits: [u8; MOST_DIGITS],
    length: usize,
    lengths: [usize; MOST_GROUPS],
    groups: usize,
}

impl Phones {
    pub fn new(plans: &[NumberingPlan], tables: &Tables) -> Result<Self, String> {
        let mut calling_codes = vec![0; 1000];
        for (code, lengths) in &tables.calling_codes {
            let number = code.parse::<usize>().ok().and_then(|number| calling_codes.get_mut(number));
            *number.ok_or_else(|| format!("no calling code: {code}"))? = *lengths;
        }
        let north_american = plans.iter().any(|plan| plan.north_american);
        let plans = plans.iter().map(compiled).collect::<Result<_, _>>()?;
        Ok(Self { plans, north_american, calling_codes })
    }

    /// Finds the numbers in a run of groups.
    pub fn find(&self, bytes: &[u8], run: &Run, found: &mut Vec<Span>) {
        let groups = run.groups();
        let mut first = 0;
        while let Some(group) = groups.get(first) {
            let plus = plus_before(bytes, group.start);
            match self.last_group(bytes, groups, first, plus.is_some()) {
                Some(last) => {
                    let (start, end) = (plus.unwrap_or(group.start), groups[last].end);
                    let bracketed = before(bytes, start, |byte| byte == b'(') && bytes[start..end].contains(&b')');
                    found.push(Span::new(start - usize::from(bracketed), end, Kind::Phone));
                    first = last + 1;
                }
                None => first += 1,
            }
        }
    }

    /// The last group of the longest number that begins with the group `first`.
    fn last_group(&self, bytes: &[u8], groups: &[Group], first: usize, plus: bool) -> Option<usize> {
        let mut candidate = Candidate::default();
        let mut found = None;
        for (index, group) in groups.iter().enumerate().skip(first).take(MOST_GROUPS) {
            if !candidate.add(&bytes[group.start..group.end]) {
                break;
            }
            if candidate.length < FEWEST_DIGITS {
                continue;
            }
            let digits = candidate.digits();
            let is_phone = if plus || digits.starts_with(b"00") {
                self.is_international(if plus { digits } else { &digits[2..] })
            } else {
                self.is_national(&candidate)
                    && stands_alone(bytes, groups[first].start, group.end, candidate.groups)
                    && !is_torn(bytes, groups, first, index)
                    && !self.is_grouped_otherwise(bytes, &groups[first..=index])
            };
            if is_phone {
                found = Some(index);
            }
        }
        found
    }

    /// Whether what follows the calling code has a length of its country, its trunk zero, as in +44 (0)20, apart.
    fn is_international(&self, digits: &[u8]) -> bool {
        if digits.first().is_none_or(|digit| *digit == b'0') {
            return false;
        }
        let mut code = 0;
        for length in 1..=LONGEST_CALLING_CODE.min(digits.len()) {
            code = code * 10 + usize::from(digits[length - 1] - b'0');
            let lengths = self.calling_codes[code];
            if lengths != 0 {
                let rest = &digits[length..];
                return has(lengths, rest.len()) || (rest.starts_with(b"0") && has(lengths, rest.len() - 1));
            }
        }
        false
    }

    fn is_national(&self, candidate: &Candidate) -> bool {
        if candidate.is_date() {
            return false;
        }
        let digits = candidate.digits();
        if self.north_american && matches!(candidate.lengths(), [3, 3, 4] | [1, 3, 3, 4]) {
            let area = digits[digits.len() - 10];
            return !matches!(area, b'0' | b'1') && (candidate.groups == 3 || digits[0] == b'1');
        }
        self.plans
            .iter()
            .any(|plan| plan.fits(digits) && (!plan.north_american || is_north_american(candidate.lengths())))
    }

    /// Whether nobody groups a telephone number so: a digit that is no prefix, a year, a social security number.
    fn is_grouped_otherwise(&self, bytes: &[u8], groups: &[Group]) -> bool {
        let first = groups[0];
        let after_first = gap(bytes, groups, 1);
        if groups[1..].iter().any(|group| group.len() == 1) {
            return true;
        }
        match first.len() {
            1 => after_first == b"." || !self.plans.iter().any(|plan| plan.prefix == bytes[first.start..first.end]),
            4 => matches!(&bytes[first.start..first.start + 2], b"19" | b"20") && matches!(after_first, b"-" | b"/"),
            3 => matches!(groups, [_, two, four] if two.len() == 2 && four.len() == 4) && after_first == b"-",
            _ => false,
        }
    }
}

impl Candidate {
    /// Takes one more group; false where that is too long.
    fn add(&mut self, group: &[u8]) -> bool {
        if self.length + group.len() > MOST_DIGITS {
            return false;
        }
        self.digits[self.length..self.length + group.len()].copy_from_slice(group);
        self.length += group.len();
        self.lengths[self.groups] = group.len();
        self.groups += 1;
        true
    }

    fn digits(&self) -> &[u8] {
        &self.digits[..self.length]
    }

    fn lengths(&self) -> &[usize] {
        &self.lengths[..self.groups]
    }

    /// Whether it begins like 2026-01-31 or 31.1.2026: what follows is then a time of day.
    fn is_date(&self) -> bool {
        let (digits, year) =
            (self.digits(), |place: usize, digits: &[u8]| matches!(&digits[place..place + 2], b"19" | b"20"));
        match self.lengths() {
            [4, 2, 2, ..] => year(0, digits),
            [first @ 1..=2, second @ 1..=2, 4, ..] => {
                let (one, other) = (value(&digits[..*first]), value(&digits[*first..first + second]));
                year(first + second, digits) && (1..=12).contains(&one.min(other)) && one.max(other) <= 31
            }
            _ => false,
        }
    }
}

impl Plan {
    fn fits(&self, digits: &[u8]) -> bool {
        let behind = if self.prefix.is_empty() { None } else { digits.strip_prefix(self.prefix.as_slice()) };
        behind.is_some_and(|number| self.is_number(number)) || (!self.required && self.is_number(digits))
    }

    fn is_number(&self, number: &[u8]) -> bool {
        let matches = |shape: &dense::DFA<Vec<u32>>| {
            let input = Input::new(number).anchored(Anchored::Yes);
            matches!(shape.try_search_fwd(&input), Ok(Some(_)))
        };
        has(self.lengths, number.len()) && self.shapes.iter().all(matches)
    }
}

fn compiled(plan: &NumberingPlan) -> Result<Plan, String> {
    let shapes = plan.shapes.iter().map(|shape| {
        dense::Builder::new()
            .configure(dense::Config::new().start_kind(StartKind::Anchored))
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .build(&format!(r"(?:{shape})\z"))
            .map_err(|error| format!("{shape}: {error}"))
    });
    Ok(Plan {
        prefix: plan.prefix.clone().into_bytes(),
        required: plan.required,
        lengths: plan.lengths,
        shapes: shapes.collect::<Result<_, _>>()?,
        north_american: plan.north_american,
    })
}

fn has(lengths: u32, length: usize) -> bool {
    lengths >> length & 1 == 1
}

fn value(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'))
}

/// Where the plus stands before a number, with up to two brackets and spaces between.
fn plus_before(bytes: &[u8], start: usize) -> Option<usize> {
    let mut place = start;
    while start - place < 2 && before(bytes, place, |byte| matches!(byte, b'(' | b' ')) {
        place -= 1;
    }
    let plus = place.checked_sub(1).filter(|plus| bytes[*plus] == b'+')?;
    (!before(bytes, plus, |byte| is_word(byte) || byte == b'+')).then_some(plus)
}

/// Whether no letter touches the number, save for an extension, and no word or fraction if it is one group.
fn stands_alone(bytes: &[u8], start: usize, end: usize, groups: usize) -> bool {
    if before(bytes, start, is_word) || (at(bytes, end, is_word) && !is_extension(bytes, end)) {
        return false;
    }
    groups > 1 || !(is_tied_before(bytes, start) || is_tied_after(bytes, end))
}

/// Whether the groups are part of something longer: tied to the ones beside them, or alike in a row of digits.
fn is_torn(bytes: &[u8], groups: &[Group], first: usize, last: usize) -> bool {
    if matches!(gap(bytes, groups, first), b"-" | b"." | b"/") || matches!(gap(bytes, groups, last + 1), b"-" | b".") {
        return true;
    }
    let width = groups[first].len();
    let alike = |group: &Group| group.len() == width;
    if first >= 2 && groups[first - 2..first].iter().all(alike) {
        return gap(bytes, groups, first) == b" " && gap(bytes, groups, first - 1) == b" ";
    }
    let goes_on = gap(bytes, groups, last + 1) == b" ";
    goes_on && last - first >= 2 && groups[first..=last + 1].iter().all(alike)
}

/// What stands before a group and behind the one before it; nothing at either end.
fn gap<'text>(bytes: &'text [u8], groups: &[Group], index: usize) -> &'text [u8] {
    match (index.checked_sub(1).and_then(|before| groups.get(before)), groups.get(index)) {
        (Some(before), Some(group)) => &bytes[before.end..group.start],
        _ => b"",
    }
}

fn is_north_american(lengths: &[usize]) -> bool {
    matches!(lengths, [3, 3, 4] | [1, 3, 3, 4] | [3, 7] | [1, 3, 7] | [10] | [1, 10] | [11])
}

fn is_extension(bytes: &[u8], place: usize) -> bool {
    let rest = &bytes[place..];
    let word = if rest[0].eq_ignore_ascii_case(&b'x') { 1 } else { 3 };
    if word == 3 && !rest.get(..3).is_some_and(|written| written.eq_ignore_ascii_case(b"ext")) {
        return false;
    }
    let after_stop = run(rest, word, 1, |byte| byte == b'.');
    let after_space = run(rest, after_stop, 1, |byte| byte == b' ');
    at(rest, after_space, |byte| byte.is_ascii_digit())
}

/// Whether a fraction, a path, an anchor or an identifier goes on with the digits.
fn is_tied_before(bytes: &[u8], start: usize) -> bool {
    before(bytes, start, |byte| matches!(byte, b'#' | b'/' | b'\\'))
        || (before(bytes, start, |byte| matches!(byte, b'.' | b'-')) && before(bytes, start - 1, is_word))
}

fn is_tied_after(bytes: &[u8], end: usize) -> bool {
    match bytes.get(end) {
        Some(b'-') => at(bytes, end + 1, is_word),
        Some(b'.') => at(bytes, end + 1, |byte| byte.is_ascii_digit()),
        _ => false,
    }
}
