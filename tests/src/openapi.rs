//! Checks the functions' requests and answers against the API's description, `api/openapi.yaml`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use aws_smithy_types::base64;
use serde_json::Value;
use service::http::Route;

use crate::description::Description;
use crate::services::Reply;

/// The parsed description and its schemas.
#[derive(Debug)]
pub struct OpenApi(Description);

/// A value in the description, with its location.
#[derive(Clone, Debug)]
struct Part<'a> {
    pointer: String,
    value: &'a Value,
}

impl OpenApi {
    /// The description, parsed once.
    #[must_use]
    pub fn get() -> &'static Self {
        static OPENAPI: LazyLock<OpenApi> = LazyLock::new(|| {
            let yaml = include_str!("../../api/openapi.yaml");
            OpenApi(Description::parse("urn:orderflow:openapi", yaml))
        });
        &OPENAPI
    }

    /// The description as a JSON value.
    #[must_use]
    pub fn document(&self) -> &Value {
        self.0.document()
    }

    /// Why a value does not match the schema at a JSON pointer of the description; empty if it
    /// matches.
    #[must_use]
    pub fn misfit(&self, schema: &str, value: &Value) -> String {
        self.0.misfit(schema, value)
    }

    /// Panics unless the description allows this exchange: an answer's status, headers, content
    /// type, and body must be declared, and an accepted request must be valid.
    pub fn assert_allows(&self, event: &Value, reply: &Reply) {
        let misfits = self.misfits(event, reply);
        assert!(
            misfits.is_empty(),
            "api/openapi.yaml does not allow this exchange:\n{misfits}request: {event}\nanswer: {} \
             {} {}",
            reply.status,
            reply.headers,
            reply.text
        );
    }

    /// The parts of an exchange that the description does not allow.
    #[must_use]
    pub fn misfits(&self, event: &Value, reply: &Reply) -> String {
        if reply.code() == "route_not_found" {
            return self.misfit("/components/schemas/Problem", &reply.body);
        }
        let Some(route) = route(event) else {
            // The request is so malformed that even the method and the path are unreadable.
            return self.misfit("/components/schemas/Problem", &reply.body);
        };
        let mut misfits = self.answer_misfits(route, reply);
        if (200..300).contains(&reply.status) {
            misfits += &self.request_misfits(route, event);
        }
        misfits
    }

    fn answer_misfits(&self, route: Route, reply: &Reply) -> String {
        let status = reply.status.to_string();
        let Some(answer) = self
            .operation(route)
            .at("responses")
            .and_then(|all| all.at(&status))
        else {
            return format!("  status {status} is not declared\n");
        };
        let answer = self.resolved(answer);
        let content_type = reply.header("content-type");
        let media = answer
            .at("content")
            .and_then(|content| content.at(content_type))
            .and_then(|media| media.at("schema"));
        let mut misfits = match media {
            Some(schema) => self.misfit(&schema.pointer, &reply.body),
            None => format!("  {status} with the content type {content_type:?} is not declared\n"),
        };
        misfits += &self.header_misfits(&answer, reply);
        misfits
    }

    fn header_misfits(&self, answer: &Part<'_>, reply: &Reply) -> String {
        let mut misfits = String::new();
        let declared: HashMap<String, Part<'_>> = answer
            .at("headers")
            .map(|headers| self.children(&headers))
            .unwrap_or_default()
            .into_iter()
            .map(|(name, header)| (name.to_lowercase(), header))
            .collect();
        for (name, header) in &declared {
            if header.value["required"] == true && reply.header(name).is_empty() {
                let _ = writeln!(misfits, "  the header {name} is missing");
            }
        }
        for (name, value) in reply.headers.as_object().into_iter().flatten() {
            let Some(header) = declared.get(name) else {
                if name != "content-type" {
                    let _ = writeln!(misfits, "  the header {name} is not declared");
                }
                continue;
            };
            let schema = header.schema();
            let number = value.as_str().and_then(|text| text.parse::<u64>().ok());
            let value = match number {
                Some(number) if schema.value["type"] == "integer" => number.into(),
                _ => value.clone(),
            };
            misfits += &self.misfit(&schema.pointer, &value);
        }
        if reply.header("cache-control") != "no-store" {
            misfits += "  the answer may be cached\n";
        }
        if reply.header("x-request-id").is_empty() {
            misfits += "  the answer does not name its request\n";
        }
        misfits
    }

    /// The invalid parts of a request.
    #[must_use]
    pub fn request_misfits(&self, route: Route, event: &Value) -> String {
        let operation = self.operation(route);
        let mut misfits = String::new();
        if let Some(media) = operation
            .at("requestBody")
            .and_then(|body| body.at("content"))
            .and_then(|content| content.at("application/json"))
        {
            misfits += &self.misfit(&media.schema().pointer, &body(event));
        }
        for parameter in self.parameters(&operation) {
            let name = parameter.value["name"].as_str().unwrap_or_default();
            let sent = match parameter.value["in"].as_str() {
                Some("header") => event["headers"][name.to_lowercase()].clone(),
                Some("path") => path_parameter(route, event, name),
                _ => query_parameter(event, name, &parameter),
            };
            if sent.is_null() {
                if parameter.value["required"] == true {
                    let _ = writeln!(misfits, "  the parameter {name} is missing");
                }
                continue;
            }
            let misfit = self.misfit(&parameter.schema().pointer, &sent);
            if !misfit.is_empty() {
                let _ = write!(misfits, "  the parameter {name}:\n{misfit}");
            }
        }
        misfits
    }

    /// The parameters of an operation and of its path.
    fn parameters<'a>(&'a self, operation: &Part<'a>) -> Vec<Part<'a>> {
        let path = operation.pointer.rsplit_once('/').unwrap_or_default().0;
        let of_path = Part {
            pointer: path.to_owned(),
            value: self.0.at(path),
        };
        let lists = [of_path.at("parameters"), operation.at("parameters")];
        let lists = lists.into_iter().flatten();
        lists
            .flat_map(|list| {
                let entries = list.value.as_array().map(Vec::as_slice).unwrap_or_default();
                let pointer = list.pointer;
                entries.iter().enumerate().map(move |(index, value)| Part {
                    pointer: format!("{pointer}/{index}"),
                    value,
                })
            })
            .map(|parameter| self.resolved(parameter))
            .collect()
    }

    fn operation(&self, route: Route) -> Part<'_> {
        let (method, path) = route.key().split_once(' ').unwrap_or_default();
        let path = path.replace('~', "~0").replace('/', "~1");
        let pointer = format!("/paths/{path}/{}", method.to_lowercase());
        let value = self.0.at(&pointer);
        Part { pointer, value }
    }

    /// The members of an object, with references resolved.
    fn children<'a>(&'a self, part: &Part<'a>) -> Vec<(String, Part<'a>)> {
        let members = part.value.as_object().into_iter().flatten();
        members
            .filter_map(|(name, _)| Some((name.clone(), self.resolved(part.at(name)?))))
            .collect()
    }

    fn resolved<'a>(&'a self, part: Part<'a>) -> Part<'a> {
        let Some(target) = part.value["$ref"].as_str() else {
            return part;
        };
        let pointer = target.trim_start_matches('#').to_owned();
        let value = self.0.at(&pointer);
        self.resolved(Part { pointer, value })
    }
}

impl Part<'_> {
    fn schema(&self) -> Self {
        self.at("schema")
            .unwrap_or_else(|| panic!("{} has no schema", self.pointer))
    }

    fn at(&self, name: &str) -> Option<Self> {
        let token = name.replace('~', "~0").replace('/', "~1");
        Some(Self {
            pointer: format!("{}/{token}", self.pointer),
            value: self.value.get(name)?,
        })
    }
}

/// The route of an event, as `Services::send` finds it.
fn route(event: &Value) -> Option<Route> {
    let method = event["requestContext"]["http"]["method"].as_str()?;
    let path = event["rawPath"].as_str().unwrap_or_default();
    Route::at(method, path).or_else(|| {
        let mut all = Route::ALL.into_iter();
        all.find(|route| event["routeKey"] == route.key())
    })
}

/// A parameter of an event's path; taken from the path itself if the test names none.
fn path_parameter(route: Route, event: &Value, name: &str) -> Value {
    if let Some(sent) = event["pathParameters"][name].as_str() {
        return sent.into();
    }
    let path = event["rawPath"].as_str().unwrap_or_default().split('/');
    let template = route.key().rsplit(' ').next().unwrap_or_default();
    let mut segments = template.split('/').zip(path);
    let found = segments.find(|(expected, _)| expected.trim_matches(['{', '}']) == name);
    found.map_or(Value::Null, |(_, segment)| segment.into())
}

/// A parameter of an event's query, converted to its declared type.
fn query_parameter(event: &Value, name: &str, parameter: &Part<'_>) -> Value {
    let sent = &event["queryStringParameters"][name];
    let number = sent.as_str().and_then(|text| text.parse::<u64>().ok());
    match number {
        Some(number) if parameter.schema().value["type"] == "integer" => number.into(),
        _ => sent.clone(),
    }
}

/// The JSON body of an event.
fn body(event: &Value) -> Value {
    let text = event["body"].as_str().unwrap_or_default();
    let bytes = if event["isBase64Encoded"] == true {
        base64::decode(text).unwrap_or_default()
    } else {
        text.as_bytes().to_vec()
    };
    serde_json::from_slice(&bytes).unwrap_or_default()
}
