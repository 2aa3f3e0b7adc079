//! What issuers and standards say of the shapes that a scan looks for. Filled in by whoever makes a scanner: the data
//! stands once, beside the twin.

/// A prefix that an issuer gives to its keys, and what follows it.
pub struct SecretShape {
    /// How the key begins.
    pub prefix: String,
    /// The characters behind the prefix: ASCII, each once.
    pub alphabet: String,
    /// How many of them there are at least.
    pub least: usize,
    /// How many there are at most, and then no letter, digit, `_` or `-` follows; 0: any number.
    pub most: usize,
}

/// Leading digits of a payment scheme's cards.
pub struct CardRange {
    /// The first leading digits.
    pub low: String,
    /// The last leading digits, as many.
    pub high: String,
    /// The lengths that the scheme issues, a bit each.
    pub lengths: u32,
}

/// A country's national telephone numbers, as `astromesh_native.numbering` describes them.
pub struct NumberingPlan {
    /// What is dialled before a national number, or nothing.
    pub prefix: String,
    /// Whether nobody writes a number without the prefix.
    pub required: bool,
    /// The lengths of numbers behind the prefix, a bit each.
    pub lengths: u32,
    /// Regular expressions, each of which matches the whole number behind the prefix.
    pub shapes: Vec<String>,
    /// Whether what is grouped 3-3-4 is a number.
    pub north_american: bool,
}

/// The data of all validators.
#[derive(Default)]
pub struct Tables {
    /// Length of an IBAN by country, two upper-case letters.
    pub iban_lengths: Vec<(String, usize)>,
    /// Of payment cards.
    pub card_ranges: Vec<CardRange>,
    /// How many digits follow a calling code, a bit for each number.
    pub calling_codes: Vec<(String, u32)>,
    /// Of API keys and tokens.
    pub secrets: Vec<SecretShape>,
    /// First and last code point of what is no letter, beyond ASCII, in ascending order.
    pub no_letters: Vec<(u32, u32)>,
    /// What ends the names of files, and no domain; lower case.
    pub file_endings: Vec<String>,
}
