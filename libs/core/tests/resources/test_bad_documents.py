"""Each refusal names file, line, path and reason."""

from __future__ import annotations

import pytest

from astromesh_core.resources.loading import load_text

AGENT = """\
apiVersion: astromesh/v1
kind: Agent
metadata: {name: a}
spec:
  model: {primary: {provider: ollama, model: m}}
"""
PIPELINE = "apiVersion: astromesh/v1\nkind: RAGPipeline\nmetadata: {name: p}\nspec:\n"
PROVIDER = "apiVersion: astromesh/v1\nkind: Provider\nmetadata: {name: p}\nspec:\n"
CONFIG = "apiVersion: astromesh/v1\nkind: RuntimeConfig\nmetadata: {name: r}\nspec:\n"
INTERNAL = 'tools: [{name: t, type: internal, function: "m:f"'
WEBHOOK = AGENT + "  tools:\n    - {name: t, type: webhook, parameters: {city: {type: string}}, %s}\n"
BUILTIN = AGENT + "  tools:\n    - {type: builtin, %s}\n"

BAD = [
    # not YAML, or more than YAML may be here
    ("kind: [", 2, "", "is not YAML"),
    ("kind: Agent\nkind: Agent\n", 2, "kind", "is given twice; first on line 1"),
    ("a: !!python/object:os.system {}\n", 1, "a", "carries the tag"),
    ("a: !!set {x: null}\n", 1, "a", "carries the tag"),
    ("a: .inf\n", 1, "a", "JSON cannot carry"),
    ("a: 99999999999999999999\n", 1, "a", "JSON cannot carry"),
    ("1: a\n", 1, "1", "is a key that is not text"),
    ("? [a]\n: b\n", 1, "", "has a key that is not text"),
    ("a: {<<: 3}\n", 1, "a.<<", "merges something that is not a mapping"),
    ("a: " + "[" * 100 + "]" * 100, 1, "", "nested deeper than 64"),
    ("- just\n- a list\n", 1, "", "is not a mapping"),
    # the head
    (AGENT.replace("Agent", "Agnet"), 2, "kind", "did you mean 'Agent'?"),
    (AGENT.replace("astromesh/v1", "astromesh/v2"), 1, "apiVersion", "cannot be 'astromesh/v2'"),
    (AGENT.replace("kind: Agent\n", ""), 1, "kind", "is required and missing"),
    (AGENT.replace("name: a", "name: My Agent"), 3, "metadata.name", "write 'my-agent'"),
    (AGENT.replace("name: a", "name: ../a"), 3, "metadata.name", "is not a DNS label"),
    (AGENT.replace("name: a", "name: a, namespace: A_B"), 3, "metadata.namespace", "write 'a-b'"),
    (AGENT.replace("name: a", "name: a, version: 1.0"), 3, "metadata.version", "put it in quotes"),
    (AGENT.replace("name: a", "name: a, labels: {on: true}"), 3, "metadata.labels.on", "is a key that is not text"),
    (
        AGENT.replace("name: a", "name: a, labels: {live: yes}"),
        3,
        "metadata.labels.live",
        "must be text, not true or false",
    ),
    (AGENT + "spek: {}\n", 6, "spek", "did you mean 'spec'?"),
    # agents
    (AGENT.replace("model: m", "modle: m"), 5, "spec.model.primary.modle", "did you mean 'model'?"),
    (AGENT.replace("ollama", "olama"), 5, "spec.model.primary.provider", "did you mean 'ollama'?"),
    (AGENT.replace("ollama", "litellm"), 5, "spec.model.primary.provider", "run its proxy"),
    (AGENT.replace(", model: m", ""), 5, "spec.model.primary", "names no model"),
    (AGENT.replace("model: m", "model: m, providerRef: x"), 5, "spec.model.primary", "keep one"),
    (AGENT.replace("provider: ollama, model: m", "model: vendor/m"), 5, "spec.model.primary", "meant litellm"),
    (AGENT.replace("model: m", "model: m, endpoint: ollama:11434"), 5, "spec.model.primary.endpoint", "http address"),
    (AGENT.replace("model: m", "model: m, api_key: sk-123"), 5, "spec.model.primary.api_key", "'${NAME}'"),
    (AGENT.replace("model: m", 'model: m, api_key: "${K:-sk-1}"'), 5, "spec.model.primary.api_key", "default value"),
    (AGENT.replace("model: m", "model: m, api_key_env: a-b"), 5, "spec.model.primary.api_key_env", "such as LLM_KEY"),
    (
        AGENT.replace("model: m", "model: m, temperature: 3"),
        5,
        "spec.model.primary.temperature",
        "less than or equal to 2",
    ),
    (
        AGENT.replace("model: m", "model: m, temperature: 1, parameters: {temperature: 0}"),
        5,
        "spec.model.primary",
        "gives temperature twice",
    ),
    *(
        (
            AGENT.replace("model: m", f"model: m, parameters: {{{name}: 1}}"),
            5,
            "spec.model.primary.parameters",
            f"sets {name}, which the router writes (remove it)",
        )
        for name in ("messages", "model", "stream", "system", "tools")
    ),
    *(
        (
            AGENT.replace("provider: ollama, model: m", f"provider: {given}"),
            5,
            "spec.model.primary",
            "which is never used",
        )
        for given in (
            "extractive, endpoint: 'http://x'",
            "extractive, api_key_env: K",
            "onnx, model: m, endpoint: 'http://x'",
        )
    ),
    (AGENT + "  chain: {mode: parallel}\n", 6, "spec.chain", "chains of agents do not exist"),
    (AGENT + "  orchestration: {pattern: glyph}\n", 6, "spec.orchestration.pattern", "glyph pattern does not exist"),
    (AGENT + "  orchestration: {pattern: reakt}\n", 6, "spec.orchestration.pattern", "did you mean 'react'?"),
    (AGENT + "  orchestration: {max_iterations: '5'}\n", 6, "spec.orchestration.max_iterations", "whole number"),
    (AGENT + "  orchestration: {max_iterations: 0}\n", 6, "spec.orchestration.max_iterations", "greater than or equal"),
    (AGENT + "  orchestration: {timeout: 1, timeout_seconds: 2}\n", 6, "spec.orchestration.timeout", "two spellings"),
    (AGENT + "  orchestration: {role_map: {}}\n", 6, "spec.orchestration.role_map", "spec.model.roles"),
    (AGENT + "  orchestration: {stages: [a]}\n", 6, "spec.orchestration", "has stages, an option of pipeline and not"),
    (AGENT + "  orchestration: {pattern: pipeline, stages: [a, a]}\n", 6, "spec.orchestration", "two stages named 'a'"),
    (AGENT + "  orchestration: {pattern: pipeline, stage: [a]}\n", 6, "spec.orchestration.stage", "mean 'stages'?"),
    (
        AGENT + "  orchestration: {pattern: pipeline, stages: [{name: a, agent: b, prompt: c}]}\n",
        6,
        "spec.orchestration.stages[0]",
        "names an agent, and a prompt or a role",
    ),
    (
        AGENT + "  orchestration: {pattern: pipeline, stages: [{name: a, role: writer}]}\n",
        4,
        "spec",
        "asks in stages[0] for the role writer, which has no models",
    ),
    (
        AGENT + "  orchestration: {pattern: parallel_fan_out, quorum: 4}\n",
        6,
        "spec.orchestration",
        "asks for 4 answers of 3 branches",
    ),
    (AGENT + "  prompts:\n", 6, "spec.prompts", "is empty; it must be a mapping"),
    (AGENT + "  tools: {name: x}\n", 6, "spec.tools", "must be a list, not a mapping"),
    (AGENT + "  tools: [{name: x}]\n", 6, "spec.tools[0]", "has no type"),
    (AGENT + "  tools:\n    - {name: x, type: rga}\n", 7, "spec.tools[0]", "did you mean 'rag'?"),
    (AGENT + "  tools: [{name: x, type: a2a}]\n", 6, "spec.tools[0]", "agents elsewhere as tools do not exist"),
    (AGENT + "  tools: [{name: x, type: agent}]\n", 6, "spec.tools[0].agent", "required and missing"),
    (AGENT + "  tools: [{name: x, type: agent, agent: other/b}]\n", 6, "spec.tools[0].agent", "not a DNS label"),
    (
        AGENT + "  tools: [{name: x, type: agent, agent: b, compensate: {tool: y}}]\n",
        6,
        "spec.tools[0].agent",
        "its calls are runs of their own",
    ),
    (AGENT + "  tools:\n    - name: x\n      type: rag\n", 7, "spec.tools[0].pipeline", "required and missing"),
    (AGENT + f"  {INTERNAL}, confirm: true}}]\n", 6, "spec.tools[0].confirm", "asking a human"),
    (AGENT + f"  {INTERNAL}, effect: none}}]\n", 6, "spec.tools[0].effect", "'read', 'idempotent', 'write'"),
    (AGENT + "  tools: [{name: t, type: internal, function: f}]\n", 6, "spec.tools[0].function", "such as shop:add"),
    (AGENT + f"  {INTERNAL}, parameters: {{a: {{type: int}}}}}}]\n", 6, "spec.tools[0].parameters", "type 'int'"),
    (
        AGENT + f"  {INTERNAL}, parameters: {{properties: {{}}, required: [a]}}}}]\n",
        6,
        "spec.tools[0].parameters",
        "requires 'a'",
    ),
    (
        AGENT + '  tools:\n    - {name: t, type: internal, function: "m:f"}\n    - {name: t, type: rag, pipeline: p}\n',
        6,
        "spec.tools",
        "has two tools named 't'",
    ),
    (
        AGENT + "  memory: {conversational: {backend: in_memory}}\n",
        6,
        "spec.memory.conversational.backend",
        "use sqlite",
    ),
    (AGENT + "  guardrails: {input: [{type: max_length}]}\n", 6, "spec.guardrails.input[0]", "bounds nothing"),
    (AGENT + "  guardrails: {input: [{type: grounding}]}\n", 6, "spec.guardrails.input[0]", "it stands in output"),
    (
        AGENT + "  guardrails: {tool_results: [{type: cost_limit}]}\n",
        6,
        "spec.guardrails.tool_results[0]",
        "in input and",
    ),
    (
        AGENT + "  guardrails: {input: [{type: content_filter, forbidden_patterns: ['(?=a)']}]}\n",
        6,
        "spec.guardrails.input[0].forbidden_patterns[0]",
        "no pattern that RE2 takes",
    ),
    (AGENT + "  guardrails: {input: [{type: pii}]}\n", 6, "spec.guardrails.input[0]", "unknown type 'pii'"),
    (AGENT + "  knowledge: {pipeline: Kb}\n", 6, "spec.knowledge.pipeline", "write 'kb'"),
    # pipelines
    (PIPELINE + "  chunking: {chunk_size: 50, overlap: 50}\n", 5, "spec.chunking", "less than the chunk size"),
    (PIPELINE + "  chunking: {unit: tokens, overlap: 200}\n", 5, "spec.chunking", "less than the chunk size 200"),
    (PIPELINE + "  chunking: {strategy: sentence, chunk_size: 9, overlap: 9}\n", 5, "spec.chunking", "less than"),
    (PIPELINE + "  chunking: {similarity_threshold: 0.5}\n", 5, "spec.chunking", "has no similarity_threshold"),
    (PIPELINE + "  chunking: {strategy: fixed, separators: [a]}\n", 5, "spec.chunking", "has no separators"),
    (PIPELINE + "  chunking: {separators: ['']}\n", 5, "spec.chunking.separators[0]", "at least 1 character"),
    (PIPELINE + f"  chunking: {{separators: {['a'] * 65}}}\n", 5, "spec.chunking.separators", "at most 64 items"),
    (PIPELINE + "  chunking: {chunkSize: big}\n", 5, "spec.chunking.chunkSize", "must be a whole number, not text"),
    (PIPELINE + "  retrieval: {mode: keyword, similarity_threshold: 0.5}\n", 5, "spec.retrieval", "vector and hybrid"),
    (PIPELINE + "  retrieval: {mmr: {lambda: 2}}\n", 5, "spec.retrieval.mmr.lambda", "less than or equal to 1"),
    (PIPELINE + "  retrieval: {mode: words}\n", 5, "spec.retrieval.mode", "'keyword'"),
    (PIPELINE + "  ingestion: {schedule: nightly}\n", 5, "spec.ingestion.schedule", "five cron fields"),
    (PIPELINE + "  ingestion: {schedule: 99 2 * * *}\n", 5, "spec.ingestion.schedule", "no schedule: bad minute"),
    (
        PIPELINE + "  ingestion: {schedule: 0 2 * * *, timezone: Mars/Base}\n",
        5,
        "spec.ingestion.timezone",
        "no time zone",
    ),
    (PIPELINE + "  ingestion: {schedule: 0 2 * * *}\n", 5, "spec.ingestion", "there are none"),
    (PIPELINE + "  ingestion: {timezone: Europe/Zurich}\n", 5, "spec.ingestion", "there is none"),
    (
        PIPELINE + "  ingestion: {sources: [{type: url, urls: [ftp://x/y]}]}\n",
        5,
        "spec.ingestion.sources[0].urls[0]",
        "http",
    ),
    (
        PIPELINE + "  ingestion: {sources: [{type: url, urls: ['http://me@x/']}]}\n",
        5,
        "spec.ingestion.sources[0].urls[0]",
        "of a page",
    ),
    (
        PIPELINE + "  ingestion: {sources: [{type: directory, path: x, glob: []}]}\n",
        5,
        "spec.ingestion.sources[0].glob",
        "at least 1",
    ),
    (PIPELINE + "  store: {backend: milvus}\n", 5, "spec.store.backend", "cannot be 'milvus'"),
    # webhooks
    (WEBHOOK % "url: 'https://{{ city }}.example/'", 7, "spec.tools[0]", "choose the host"),
    (WEBHOOK % "url: https://x/y, query: {q: '{{ town }}'}", 7, "spec.tools[0]", "the parameter town"),
    (WEBHOOK % "url: 'https://x/{{ city }}'", 7, "spec.tools[0]", "may be left out"),
    (WEBHOOK % "url: https://x/y, body: '{% if city %}'", 7, "spec.tools[0]", "braces that name no parameter"),
    (WEBHOOK % "url: https://x/y, method: GET, body: {}", 7, "spec.tools[0]", "GET sends none"),
    (WEBHOOK % "url: https://x/y, headers: {Host: z}", 7, "spec.tools[0].headers", "set by itself"),
    (WEBHOOK % "url: https://x/y, response: {select: city}", 7, "spec.tools[0].response.select", "no JSONPath"),
    (
        WEBHOOK % "url: https://x/y, response: {select: '$[?search(@.a, \"(a+)+\")]'}",
        7,
        "spec.tools[0].response.select",
        "function 'search' is not defined",
    ),
    (WEBHOOK % "url: https://x/y, auth: {type: bearer, token: abc}", 7, "spec.tools[0].auth.token", "secret's value"),
    # built-in tools
    (BUILTIN % "name: datetime_nwo", 7, "spec.tools[0]", "did you mean 'datetime_now'?"),
    (BUILTIN % "name: now, tool: clock", 7, "spec.tools[0]", "there are datetime_now, calculator"),
    (BUILTIN % "name: datetime_now, config: {timezon: UTC}", 7, "spec.tools[0].config.timezon", "mean 'timezone'?"),
    (BUILTIN % "name: now, tool: datetime_now, config: {timezon: UTC}", 7, "spec.tools[0].config.timezon", "timezone"),
    (BUILTIN % "name: datetime_now, config: {timezone: Mars}", 7, "spec.tools[0].config.timezone", "no time zone"),
    (BUILTIN % "name: calculator, config: {timezone: UTC}", 7, "spec.tools[0].config.timezone", "unknown field"),
    (BUILTIN % "name: calculator, config: 3", 7, "spec.tools[0].config", "must be a mapping"),
    (BUILTIN % "name: calculator, effect: write", 7, "spec.tools[0].effect", "unknown field"),
    (BUILTIN % "name: 7", 7, "spec.tools[0].name", "must be text"),
    (
        BUILTIN % "name: web_scrape, config: {allowed_host: [a.de]}",
        7,
        "spec.tools[0].config.allowed_host",
        "'allowed_hosts'",
    ),
    (
        BUILTIN % "name: web_scrape, config: {allowed_hosts: ['*']}",
        7,
        "spec.tools[0].config.allowed_hosts[0]",
        "a host",
    ),
    (BUILTIN % "name: read_file", 7, "spec.tools[0]", "needs a config, with roots"),
    (BUILTIN % "name: read_file, config: {}", 7, "spec.tools[0].config.roots", "is required and missing"),
    (BUILTIN % "name: read_file, config: {roots: []}", 7, "spec.tools[0].config.roots", "at least 1 item"),
    (BUILTIN % "name: read_file, config: {root: [a]}", 7, "spec.tools[0].config.root", "did you mean 'roots'?"),
    (BUILTIN % "name: sql_query", 7, "spec.tools[0]", "needs a path or a url"),
    (
        BUILTIN % "name: sql_query, config: {path: a.db, url: 'sqlite:///a'}",
        7,
        "spec.tools[0].config",
        "one of them alone",
    ),
    (BUILTIN % "name: sql_query, config: {url: 'mysql://h/d'}", 7, "spec.tools[0].config", "cannot be asked"),
    (BUILTIN % "name: sql_query, config: {path: a.db, read_only: false}", 7, "spec.tools[0].config", "only reads"),
    (
        BUILTIN % "name: sql_query, config: {url: 'postgresql://u:pw@h/d'}",
        7,
        "spec.tools[0].config.url",
        "secret's value",
    ),
    # providers and settings
    (PROVIDER + "  type: ollama\n  contract: x\n", 6, "spec.contract", "do not exist"),
    (PROVIDER + "  type: ollama\n  models: [{name: m, quality_score: 2}]\n", 6, "spec.models[0].quality_score", "less"),
    (PROVIDER + "  type: ollama\n  healthCheck: {interval: soon}\n", 6, "spec.healthCheck.interval", "such as 30s"),
    (CONFIG + "  mesh: {enabled: true}\n", 5, "spec.mesh", "message bus"),
    (CONFIG + "  api: {port: 70000}\n", 5, "spec.api.port", "less than or equal to 65535"),
    (CONFIG + "  api_keys: [{name: k, hash: secret}]\n", 5, "spec.api_keys[0].hash", "is not a hash"),
    (CONFIG + "  api_keys: [{name: k, key: x}]\n", 5, "spec.api_keys[0].key", "unknown field"),
    ("channels: {whatsapp: {app_secret: shh}}\n", 1, "channels.whatsapp.app_secret", "secret's value"),
    ("channels: {}\nextra: 1\n", 2, "extra", "a channels.yaml holds channels alone"),
]


@pytest.mark.parametrize(("text", "line", "path", "words"), BAD, ids=[f"{words} {path}" for _, _, path, words in BAD])
def test_says_where_and_why(text: str, line: int, path: str, words: str) -> None:
    loaded = load_text(text, "bad.yaml")
    assert loaded.resources == ()
    matching = [problem for problem in loaded.problems if problem.path == path and problem.line == line]
    assert matching, [str(problem) for problem in loaded.problems]
    assert any(words in str(problem) for problem in matching), [str(problem) for problem in matching]
    assert all(problem.file == "bad.yaml" for problem in loaded.problems)


def test_says_everything_that_is_wrong_at_once() -> None:
    text = AGENT.replace("model: m", "modle: m") + "  chain: {}\n  orchestration: {pattern: reakt}\n"
    assert [problem.line for problem in load_text(text, "bad.yaml").problems] == [5, 6, 7]


def test_never_repeats_a_secret() -> None:
    text = AGENT.replace("model: m", "model: m, api_key: sk-very-secret")
    assert "sk-very-secret" not in "".join(str(problem) for problem in load_text(text, "bad.yaml").problems)


def test_a_bad_document_does_not_spoil_its_neighbours() -> None:
    loaded = load_text(f"{AGENT}---\nkind: {{\n", "all.yaml")
    assert loaded.resources == ()
    loaded = load_text(f"{AGENT}---\nkind: Agent\n---\n{AGENT.replace('name: a', 'name: b')}", "all.yaml")
    assert [resource.name for resource in loaded.resources] == ["a", "b"]
    assert {problem.line for problem in loaded.problems} == {7}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (AGENT.replace("astromesh/v1", "astromesh/v2"), "Agent default/a"),
        (AGENT.replace("name: a", "name: a, namespace: ops, vershun: 1"), "Agent ops/a"),
        (AGENT.replace("name: a", "name: My Agent"), ""),
        (AGENT.replace("Agent", "Agnet"), ""),
        (AGENT.replace("name: a", "name: a, namespace: A_B"), ""),
    ],
)
def test_a_head_that_cannot_be_read_names_its_resource_where_that_much_can(text: str, named: str) -> None:
    assert {problem.resource for problem in load_text(text, "a.yaml").problems} == {named}
