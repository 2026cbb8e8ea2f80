//! Counters, gauges and histograms, in Prometheus' text format 0.0.4.
//!
//! Handles are looked up once, when a route or an upstream is set up; after that a request costs
//! atomic adds. Labels come from the settings or from closed sets, never from a request. Gauges
//! whose values other parts keep are set by [`Metrics::on_render`] just before they are read.

mod family;
mod parts;
mod per_route;
mod per_upstream;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::core::Collector;
use prometheus::{Encoder as _, Registry, TextEncoder};

use self::family::Shape;

pub use self::parts::{
    BodyMetrics, DustMetrics, FollowerMetrics, MemoryMetrics, ProcessMetrics, PurgeMetrics, ShedMetrics,
};
pub use self::per_route::RouteMetrics;
pub use self::per_upstream::UpstreamMetrics;

/// The content type that goes with [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Sets gauges just before they are read.
type Setter = Box<dyn Fn(&Metrics) + Send + Sync>;

/// All metrics of this process.
pub struct Metrics {
    registry: Registry,
    shapes: Vec<Shape>,
    before: RwLock<Vec<Setter>>,
    routes: per_route::Families,
    upstreams: per_upstream::Families,
    /// The process and its connections.
    pub process: ProcessMetrics,
    /// Requests that follow a fill.
    pub followers: FollowerMetrics,
    /// Requests and connections that were turned away.
    pub shed: ShedMetrics,
    /// The coordination store.
    pub dust: DustMetrics,
    /// The memory tier, and what any tier evicts.
    pub memory: MemoryMetrics,
    /// The body store.
    pub bodies: BodyMetrics,
    /// Purges.
    pub purges: PurgeMetrics,
}

/// Registers families and remembers their shapes.
struct Register {
    registry: Registry,
    shapes: Vec<Shape>,
}

// === impl Metrics ===

impl Metrics {
    /// All families. None has a value yet, except where zero says something.
    pub fn new(version: &str) -> Arc<Self> {
        let mut register = Register { registry: Registry::new(), shapes: Vec::new() };
        let metrics = Self {
            process: ProcessMetrics::new(&mut register, version),
            routes: per_route::Families::new(&mut register),
            upstreams: per_upstream::Families::new(&mut register),
            followers: FollowerMetrics::new(&mut register),
            shed: ShedMetrics::new(&mut register),
            dust: DustMetrics::new(&mut register),
            memory: MemoryMetrics::new(&mut register),
            bodies: BodyMetrics::new(&mut register),
            purges: PurgeMetrics::new(&mut register),
            registry: register.registry,
            shapes: register.shapes,
            before: RwLock::default(),
        };
        Arc::new(metrics)
    }

    /// The handles of one route. Keep them: looking them up is not for the way of a hit.
    pub fn route(&self, name: &str) -> RouteMetrics {
        RouteMetrics::new(&self.routes, name)
    }

    /// Handles of one upstream.
    pub fn upstream(&self, name: &str) -> UpstreamMetrics {
        UpstreamMetrics::new(&self.upstreams, name)
    }

    /// Registers a function that sets gauges. It is called before every rendering, and must not block.
    pub fn on_render(&self, set: impl Fn(&Metrics) + Send + Sync + 'static) {
        self.before.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(set));
    }

    /// The text of all families, sorted by name; each has its HELP and TYPE, traffic or not.
    pub fn render(&self) -> String {
        for set in self.before.read().unwrap_or_else(PoisonError::into_inner).iter() {
            set(self);
        }
        let gathered = self.registry.gather();
        let mut out = Vec::new();
        let mut gathered = gathered.iter().peekable();
        for shape in &self.shapes {
            // Both are sorted by name, and every family that is gathered has a shape.
            match gathered.next_if(|family| family.name() == shape.name) {
                Some(family) => {
                    // It fails only for a family without a name or a value, and this one has both.
                    let _ = TextEncoder::new().encode(std::slice::from_ref(family), &mut out);
                }
                None => shape.header(&mut out),
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("families", &self.shapes.len()).finish_non_exhaustive()
    }
}

// === impl Register ===

impl Register {
    /// Registers a family that was just built, and returns it.
    fn add<C: Collector + Clone + 'static>(&mut self, kind: &'static str, family: C) -> C {
        for desc in family.desc() {
            self.shapes.push(Shape { name: desc.fq_name.clone(), help: desc.help.clone(), kind });
        }
        self.shapes.sort_by(|a, b| a.name.cmp(&b.name));
        self.registry.register(Box::new(family.clone())).expect("names are written once, in this module");
        family
    }
}

#[cfg(test)]
mod tests;
