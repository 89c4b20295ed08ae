//! Alloy's language: words into blocks, attributes and expressions, each with its place.

use crate::{
    cli::convert::alloy::lexer::{Fault, Kind, Word, words},
    config::problem::Place,
};

/// Of blocks and of expressions; deeper is refused, as both are walked by recursion.
const DEPTH_MAX: u32 = 64;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Block {
    pub(super) place: Place,
    /// With its dots.
    pub(super) name: String,
    pub(super) label: Option<String>,
    pub(super) body: Body,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Body {
    pub(super) attributes: Vec<Attribute>,
    pub(super) blocks: Vec<Block>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Attribute {
    pub(super) place: Place,
    pub(super) name: String,
    pub(super) value: Expression,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expression {
    pub(super) place: Place,
    pub(super) what: What,
    /// How deep it is.
    height: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Expression>),
    Object(Vec<(String, Expression)>),
    Name(String),
    Access(Box<Expression>, String),
    Index(Box<Expression>, Box<Expression>),
    Call(Box<Expression>, Vec<Expression>),
    Not(Box<Expression>),
    Minus(Box<Expression>),
    Operation(&'static str, Box<Expression>, Box<Expression>),
}

impl Block {
    /// As other components name it.
    pub(super) fn id(&self) -> String {
        match &self.label {
            Some(label) => format!("{}.{label}", self.name),
            None => self.name.clone(),
        }
    }

    /// For a message, as it is typed.
    pub(super) fn shown(&self) -> String {
        match &self.label {
            Some(label) => format!("`{} {label:?}`", self.name),
            None => format!("`{}`", self.name),
        }
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.body.attributes.iter().find(|attribute| attribute.name == name)
    }

    pub(super) fn blocks<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'b Block> {
        self.body.blocks.iter().filter(move |block| block.name == name)
    }
}

impl Expression {
    /// `a.b.c` where it is nothing else.
    pub(super) fn dotted(&self) -> Option<String> {
        match &self.what {
            What::Name(name) => Some(name.clone()),
            What::Access(inner, name) => Some(format!("{}.{name}", inner.dotted()?)),
            _ => None,
        }
    }
}

/// A whole file.
///
/// # Errors
/// The first place that is no Alloy.
pub(super) fn parse(text: &str) -> Result<Body, Fault> {
    let mut parser = Parser { words: words(text)?, next: 0 };
    let body = parser.body(0)?;
    match parser.peek().kind {
        Kind::End => Ok(body),
        _ => Err(parser.unexpected("a block or an attribute")),
    }
}

struct Parser {
    words: Vec<Word>,
    next: usize,
}

impl Parser {
    fn peek(&self) -> &Word {
        self.words.get(self.next).or(self.words.last()).expect("there is always the end")
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek().kind, Kind::Sign(own) if own == sign)
    }

    fn skip(&mut self, sign: &str) -> bool {
        let is = self.is(sign);
        self.next += usize::from(is);
        is
    }

    fn expect(&mut self, sign: &str) -> Result<(), Fault> {
        if self.skip(sign) { Ok(()) } else { Err(self.unexpected(&format!("`{sign}`"))) }
    }

    /// Never tells what a text holds: it may be a secret.
    fn unexpected(&self, expected: &str) -> Fault {
        let Word { kind, place, .. } = self.peek();
        let found = match kind {
            Kind::Name(name) => format!("`{name}`"),
            Kind::Number(_) => "a number".to_owned(),
            Kind::Text(_) => "a text".to_owned(),
            Kind::Sign(sign) => format!("`{sign}`"),
            Kind::End => "the end of the file".to_owned(),
        };
        (*place, format!("expected {expected}, found {found}"))
    }

    fn name(&mut self, expected: &str) -> Result<(Place, String), Fault> {
        match self.peek().clone() {
            Word { kind: Kind::Name(name), place, .. } => {
                self.next += 1;
                Ok((place, name))
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    fn body(&mut self, depth: u32) -> Result<Body, Fault> {
        let mut body = Body::default();
        while matches!(self.peek().kind, Kind::Name(_)) {
            let (place, mut name) = self.name("a name")?;
            if depth > DEPTH_MAX {
                return Err((place, format!("nested deeper than {DEPTH_MAX} levels")));
            }
            if self.skip("=") {
                let value = self.expression(depth + 1)?;
                body.attributes.push(Attribute { place, name, value });
                // A comma after an attribute is a common slip, and harmless.
                self.skip(",");
                continue;
            }
            while self.skip(".") {
                name = format!("{name}.{}", self.name("a name after `.`")?.1);
            }
            let label = match self.peek().kind.clone() {
                Kind::Text(label) => {
                    self.next += 1;
                    Some(label)
                }
                _ => None,
            };
            if !self.is("{") {
                return Err(self.unexpected(if label.is_some() { "`{`" } else { "`=` or `{`" }));
            }
            self.next += 1;
            let inner = self.body(depth + 1)?;
            self.expect("}")?;
            body.blocks.push(Block { place, name, label, body: inner });
        }
        Ok(body)
    }

    fn expression(&mut self, depth: u32) -> Result<Expression, Fault> {
        self.operation(0, depth)
    }

    /// Operators that bind at least as strongly as those of `level`.
    fn operation(&mut self, level: usize, depth: u32) -> Result<Expression, Fault> {
        const LEVELS: [&[&str]; 6] = [
            &["||", "??"],
            &["&&"],
            &["==", "!=", "<", "<=", ">", ">="],
            &["+", "-"],
            &["*", "/", "%"],
            &["^"],
        ];
        let Some(signs) = LEVELS.get(level) else { return self.unary(depth) };
        let mut left = self.operation(level + 1, depth)?;
        while let Kind::Sign(sign) = self.peek().kind
            && signs.contains(&sign)
            && !self.peek().begins_line
        {
            self.next += 1;
            let right = self.operation(level + 1, depth)?;
            let (place, height) = (left.place, left.height.max(right.height));
            left = node(place, height, What::Operation(sign, Box::new(left), Box::new(right)))?;
        }
        Ok(left)
    }

    fn unary(&mut self, depth: u32) -> Result<Expression, Fault> {
        let place = self.peek().place;
        if depth > DEPTH_MAX {
            return Err((place, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        for (sign, make) in
            [("!", What::Not as fn(Box<Expression>) -> What), ("-", What::Minus as _)]
        {
            if self.skip(sign) {
                let inner = self.unary(depth + 1)?;
                return node(place, inner.height, make(Box::new(inner)));
            }
        }
        let mut value = self.primary(depth)?;
        while !self.peek().begins_line {
            let place = value.place;
            if self.skip(".") {
                let (_, name) = self.name("a name after `.`")?;
                value = node(place, value.height, What::Access(Box::new(value), name))?;
            } else if self.skip("[") {
                let index = self.expression(depth + 1)?;
                self.expect("]")?;
                let height = value.height.max(index.height);
                value = node(place, height, What::Index(Box::new(value), Box::new(index)))?;
            } else if self.skip("(") {
                let arguments = self.list(")", depth)?;
                let height = tallest(&arguments).max(value.height);
                value = node(place, height, What::Call(Box::new(value), arguments))?;
            } else {
                break;
            }
        }
        Ok(value)
    }

    fn primary(&mut self, depth: u32) -> Result<Expression, Fault> {
        let Word { kind, place, .. } = self.peek().clone();
        let what = match kind {
            Kind::Number(number) => What::Number(number),
            Kind::Text(text) => What::Text(text),
            Kind::Name(name) => match name.as_str() {
                "null" => What::Null,
                "true" => What::Bool(true),
                "false" => What::Bool(false),
                _ => What::Name(name),
            },
            Kind::Sign("(") => {
                self.next += 1;
                let inner = self.expression(depth + 1)?;
                self.expect(")")?;
                return Ok(inner);
            }
            Kind::Sign("[") => {
                self.next += 1;
                let items = self.list("]", depth)?;
                return node(place, tallest(&items), What::List(items));
            }
            Kind::Sign("{") => {
                self.next += 1;
                return self.object(place, depth);
            }
            Kind::Sign(_) | Kind::End => return Err(self.unexpected("a value")),
        };
        self.next += 1;
        node(place, 0, what)
    }

    fn list(&mut self, end: &str, depth: u32) -> Result<Vec<Expression>, Fault> {
        let mut items = Vec::new();
        while !self.skip(end) {
            items.push(self.expression(depth + 1)?);
            if !self.is(end) {
                self.expect(",")?;
            }
        }
        Ok(items)
    }

    fn object(&mut self, place: Place, depth: u32) -> Result<Expression, Fault> {
        let mut entries: Vec<(String, Expression)> = Vec::new();
        let mut height = 0;
        while !self.skip("}") {
            let (Kind::Name(key) | Kind::Text(key)) = self.peek().kind.clone() else {
                return Err(self.unexpected("a key or `}`"));
            };
            self.next += 1;
            if !self.skip("=") {
                return Err(self.unexpected("`=`"));
            }
            let value = self.expression(depth + 1)?;
            height = height.max(value.height);
            entries.push((key, value));
            if !self.is("}") && !self.skip(",") && !self.peek().begins_line {
                return Err(self.unexpected("`,` or `}`"));
            }
        }
        node(place, height, What::Object(entries))
    }
}

fn tallest(all: &[Expression]) -> u32 {
    all.iter().map(|inner| inner.height).max().unwrap_or(0)
}

/// One level above what is `below`. A long chain of operators is as deep as it is long.
fn node(place: Place, below: u32, what: What) -> Result<Expression, Fault> {
    let height = below + 1;
    if height > DEPTH_MAX {
        return Err((place, format!("an expression of more than {DEPTH_MAX} levels")));
    }
    Ok(Expression { place, what, height })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(expression: &Expression) -> String {
        let all = |items: &[Expression]| items.iter().map(shown).collect::<Vec<_>>().join(" ");
        match &expression.what {
            What::Null => "null".to_owned(),
            What::Bool(is) => is.to_string(),
            What::Number(number) => number.clone(),
            What::Text(text) => format!("{text:?}"),
            What::Name(name) => name.clone(),
            What::List(items) => format!("[{}]", all(items)),
            What::Object(entries) => {
                let entries = entries.iter().map(|(key, value)| format!("{key}:{}", shown(value)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(" "))
            }
            What::Access(inner, name) => format!("{}.{name}", shown(inner)),
            What::Index(inner, index) => format!("{}[{}]", shown(inner), shown(index)),
            What::Call(inner, arguments) => format!("{}({})", shown(inner), all(arguments)),
            What::Not(inner) => format!("(! {})", shown(inner)),
            What::Minus(inner) => format!("(- {})", shown(inner)),
            What::Operation(sign, left, right) => {
                format!("({sign} {} {})", shown(left), shown(right))
            }
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let body = parse(&format!("a = {text}\nb = 1\n")).expect(text);
        assert_eq!(shown(&body.attributes[0].value), expected, "{text}");
        assert_eq!(body.attributes.len(), 2, "{text}");
    }

    #[test]
    fn expressions() {
        check("1 + 2 * 3", "(+ 1 (* 2 3))");
        check("(1 + 2) * -3", "(* (+ 1 2) (- 3))");
        check("!true && false || null == 1.5e+3", "(|| (&& (! true) false) (== null 1.5e+3))");
        check("\"a\\n\\x41\\u00fc\\U0001F600\\101\\\"\"", "\"a\\nAü😀A\\\"\"");
        check("`a\\n\nb`", "\"a\\\\n\\nb\"");
        check("[\n 1,\n 2,\n]", "[1 2]");
        check("{ a = 1, \"b.c\" = [2],\n}", "{a:1 b.c:[2]}");
        check("{\n a = 1 // one\n b = 2 /* two */\n}", "{a:1 b:2}");
        check("concat(a.b.c, d[\"e\"][0])", "concat(a.b.c d[\"e\"][0])");
        check("sys.env(\"X\") + \"/\"", "(+ sys.env(\"X\") \"/\")");
        check("[]", "[]");
    }

    #[test]
    fn blocks_have_names_labels_and_places() {
        let text = "// one\nprometheus.scrape \"x\" {\n  clustering { enabled = true }\n  a = 1\n}\nlogging {}\n";
        let body = parse(text).expect("Alloy");
        let [scrape, logging] = &body.blocks[..] else { panic!("two blocks: {body:?}") };
        assert_eq!((scrape.id(), logging.id()), ("prometheus.scrape.x".into(), "logging".into()));
        assert_eq!(scrape.place, Place { line: 2, column: 1 });
        assert_eq!(scrape.body.attributes[0].place, Place { line: 4, column: 3 });
        assert_eq!(scrape.body.blocks[0].place, Place { line: 3, column: 3 });
        assert_eq!(scrape.shown(), "`prometheus.scrape \"x\"`");
    }

    #[test]
    fn faults_have_places_and_no_texts() {
        let nested = format!("a = {}", "[".repeat(100_000));
        let blocks = "a {".repeat(100_000);
        let chain = format!("a = 1{}", " + 1".repeat(100_000));
        let dots = format!("a = b{}", ".b".repeat(100_000));
        let not = format!("a = {}1", "!".repeat(100_000));
        for (text, line, column, expected) in [
            ("a = \"hunter2", 1, 5, "does not end"),
            ("a = `hunter2", 1, 5, "does not end"),
            ("/* hunter2", 1, 1, "does not end"),
            ("a = \"\\q\"", 1, 6, "escape"),
            ("a = \"\\ud800\"", 1, 6, "escape"),
            ("a = \"\\xff\"", 1, 5, "UTF-8"),
            ("a {\n b = }\n", 2, 6, "expected a value, found `}`"),
            ("a \"hunter2\" = 1", 1, 13, "expected `{`, found `=`"),
            ("a = [1 \"hunter2\"]", 1, 8, "expected `,`, found a text"),
            ("a.b = 1", 1, 5, "expected `=` or `{`"),
            ("a {\n", 2, 1, "expected `}`, found the end of the file"),
            ("}", 1, 1, "expected a block or an attribute, found `}`"),
            ("a = #", 1, 5, "unexpected character"),
            (&nested, 1, 69, "deeper"),
            (&blocks, 1, 196, "deeper"),
            (&chain, 1, 5, "levels"),
            (&dots, 1, 5, "levels"),
            (&not, 1, 69, "deeper"),
        ] {
            let start: String = text.chars().take(40).collect();
            let (place, message) = parse(text).expect_err(&start);
            assert!(message.contains(expected), "{start}: {message}");
            assert!(!message.contains("hunter2"), "{start}: {message}");
            assert_eq!((place.line, place.column), (line, column), "{start}: {message}");
        }
    }
}
