// ChatTemplate: variables, faults, limits, threads, and templates gone wrong.
#include "model/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "model/jinja_limits.h"
#include "model/jinja_text.h"
#include "model/utf8.h"
#include "tests/model/byte_vocabulary.h"
#include "tests/model/expect_error.h"

namespace lockstep::model {
namespace {

using testing::HasSubstr;
using Json = nlohmann::ordered_json;

Result<std::string> render(const std::string& source, const Json& extra = Json::object(),
                           const Json& messages = Json::array()) {
  return ChatTemplate(source, "<s>", "</s>").render(messages, true, extra);
}

std::string rendered(const std::string& source, const Json& extra = Json::object()) {
  const auto result = render(source, extra);
  return result ? *result : "fault: " + result.fault().message;
}

std::string fault_of(const std::string& source, const Json& extra = Json::object()) {
  const auto result = render(source, extra);
  return result ? "no fault: " + result->substr(0, 100) : result.fault().message;
}

std::string parse_error(const std::string& source) {
  try {
    ChatTemplate(source, "", "");
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string repeat(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

TEST(ChatTemplate, GivesMessagesTokensAndExtrasToTheTemplate) {
  const Json messages = Json::parse(R"([{"role":"user","content":"hi"}])");
  const auto result = render(
      "{{ bos_token }}{{ messages[0].role }}:{{ messages[0]['content'] }}{{ eos_token }}"
      "{{ add_generation_prompt }}{{ k.v }}{{ tools is none }}",
      Json::parse(R"({"k":{"v":5}})"), messages);
  ASSERT_TRUE(result);
  EXPECT_EQ(*result, "<s>user:hi</s>True5True");
}

TEST(ChatTemplate, KnowsWhetherItHasAPlaceForTools) {
  const auto takes_tools = [](const std::string& source, const std::string& tool_use = "") {
    return ChatTemplate(source, "", "", tool_use).takes_tools();
  };
  EXPECT_TRUE(takes_tools("{%- if tools is not none %}x{% endif %}"));
  EXPECT_TRUE(takes_tools("{{ messages | list + tools }}"));
  EXPECT_FALSE(takes_tools("You have no tools. {# tools #}{{ message.tools }}{{ 'tools' }}"));
  EXPECT_TRUE(takes_tools("no place", "{{ tools }}"));
}

TEST(ChatTemplate, RepairsTokensThatAreHalfACharacter) {
  for (const char* method : {"split()", "strip()", "upper()", "split('x', 1)[0]"}) {
    const ChatTemplate chat("{{ bos_token." + std::string(method) + " }}{{ eos_token }}",
                            "\xe2\x82", "\x80");
    const auto result = chat.render(Json::array(), true, Json());
    ASSERT_TRUE(result) << method;
    EXPECT_THAT(*result, HasSubstr("\xef\xbf\xbd")) << method;
    EXPECT_TRUE(is_valid_utf8(*result)) << method;
  }
}

TEST(ChatTemplate, KeepsTheOrderOfKeys) {
  EXPECT_EQ(rendered("{{ tools|tojson }}", Json::parse(R"({"tools":{"z":1,"a":2}})")),
            R"({"z": 1, "a": 2})");
}

TEST(ChatTemplate, AcceptsNoExtras) { EXPECT_EQ(rendered("x", Json()), "x"); }

TEST(ChatTemplate, TurnsRaiseExceptionIntoTheRequestsFault) {
  const auto result = render("{{ raise_exception('System role not supported') }}");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.fault().code, "invalid_request_error");
  EXPECT_EQ(result.fault().message, "System role not supported");
  EXPECT_EQ(result.fault().param, "messages");
}

TEST(ChatTemplate, RefusesExtrasThatReplaceTheTemplatesOwn) {
  for (const char* name :
       {"messages", "bos_token", "eos_token", "raise_exception", "add_generation_prompt"}) {
    Json extra;
    extra[name] = 1;
    const auto result = render("x", extra);
    ASSERT_FALSE(result) << name;
    EXPECT_EQ(result.fault().param, name);
    EXPECT_THAT(result.fault().message, HasSubstr("'" + std::string(name) + "'"));
  }
}

TEST(ChatTemplate, RefusesInputOfTheWrongShape) {
  EXPECT_EQ(render("x", Json::array()).fault().code, "invalid_request_error");
  EXPECT_EQ(render("x", Json::object(), Json::object()).fault().message,
            "messages must be an array");
  EXPECT_THAT(fault_of("x", Json{{"k", "\xff"}}), HasSubstr("k: a text is not UTF-8"));
}

TEST(ChatTemplate, NamesLineAndColumnOfASyntaxError) {
  EXPECT_EQ(parse_error("a\n  {{ é + }}"),
            "chat template, line 2, column 10: expected an expression, got the end of the tag");
  EXPECT_THAT(parse_error("\n{% if x %}"), HasSubstr("line 2, column 11: expected 'endif'"));
  EXPECT_THAT(parse_error("{% nope %}"), HasSubstr("column 4: unknown or unsupported tag 'nope'"));
  EXPECT_THAT(parse_error("{{ x|nope }}"), HasSubstr("column 6: No filter named 'nope'"));
  EXPECT_THAT(parse_error("\xff"), HasSubstr("not UTF-8 at byte 0"));
}

TEST(ChatTemplate, NamesLineAndColumnOfARuntimeError) {
  EXPECT_EQ(fault_of("x\ny {{ 1 + (2 ~ 'a') }}"),
            "chat template, line 2, column 8: unsupported operand types for +: 'int' and 'str'");
  EXPECT_EQ(fault_of("{{ a.b }}"), "chat template, line 1, column 5: 'a' is undefined");
}

TEST(ChatTemplateLimits, Source) {
  EXPECT_EQ(parse_error(std::string(jinja::kMaxSourceBytes, 'x')), "no error");
  EXPECT_THAT(parse_error(std::string(jinja::kMaxSourceBytes + 1, 'x')),
              HasSubstr("over the limit of 1048576"));
}

TEST(ChatTemplateLimits, NestingOfTheSource) {
  const auto nested = [](const std::string& open, const std::string& close, int times) {
    return repeat(open, times) + repeat(close, times);
  };
  EXPECT_EQ(parse_error(nested("{% if 1 %}", "{% endif %}", 100)), "no error");
  EXPECT_THAT(parse_error(nested("{% if 1 %}", "{% endif %}", 200)), HasSubstr("limit of 128"));
  EXPECT_THAT(parse_error("{{ " + nested("[", "]", 5000) + " }}"), HasSubstr("limit of 128"));
  EXPECT_THAT(parse_error("{{ " + nested("(", ")", 5000) + " }}"), HasSubstr("limit of 128"));
  EXPECT_THAT(parse_error("{{ " + repeat("not ", 5000) + "1 }}"), HasSubstr("limit of 128"));
  EXPECT_THAT(parse_error("{{ " + repeat("-", 5000) + "1 }}"), HasSubstr("limit of 128"));
  EXPECT_THAT(parse_error("{{ 1" + repeat(" + 1", 5000) + " }}"), HasSubstr("limit of 128"));
  EXPECT_THAT(parse_error("{{ a" + repeat(".a", 5000) + " }}"), HasSubstr("limit of 128"));
  EXPECT_THAT(parse_error("{{ a" + repeat("|upper", 5000) + " }}"), HasSubstr("limit of 128"));
  EXPECT_THAT(parse_error("{{ a" + repeat(" if a", 5000) + " }}"), HasSubstr("limit of 128"));
  EXPECT_THAT(parse_error("{% for " + nested("(", ")", 5000) + " %}"), HasSubstr("limit of 128"));
  EXPECT_EQ(rendered("{{ 'a'" + repeat(" ~ 'a'", 5000) + " }}").size(), 5001u);
}

TEST(ChatTemplateLimits, NestingOfMacroCalls) {
  const std::string macro =
      "{% macro m(n) %}{% if n > 1 %}{{ m(n - 1) }}{% else %}end{% endif %}{% endmacro %}";
  EXPECT_EQ(rendered(macro + "{{ m(128) }}"), "end");
  EXPECT_THAT(fault_of(macro + "{{ m(129) }}"),
              HasSubstr("macro calls nest deeper than the limit of 128"));
}

TEST(ChatTemplateLimits, NestingOfEvaluation) {
  const std::string deep = repeat("(1, ", 100) + "m(n - 1)" + repeat(")", 100);
  const std::string source =
      "{% macro m(n) %}{{ " + deep + " if n else 'end' }}{% endmacro %}{{ m(100) }}";
  EXPECT_THAT(fault_of(source), HasSubstr("evaluation nests deeper than the limit of 2048"));
}

TEST(ChatTemplateLimits, NestingOfStatementsOverMacroCalls) {
  const auto endless = [](const std::string& open, const std::string& close) {
    return "{% macro m() %}" + repeat(open, 100) + "{{ m() }}" + repeat(close, 100) +
           "{% endmacro %}{{ m() }}";
  };
  for (const std::string& source :
       {endless("{% for i in [1] %}", "{% endfor %}"), endless("{% if 1 %}", "{% endif %}"),
        endless("{% filter upper %}", "{% endfilter %}"), endless("{% with %}", "{% endwith %}"),
        endless("{% set x %}", "{% endset %}")}) {
    EXPECT_THAT(fault_of(source), HasSubstr("evaluation nests deeper than the limit of 2048"));
  }
}

TEST(ChatTemplateLimits, NestingOfValues) {
  const std::string grow =
      "{% set ns = namespace(v=[]) %}{% for i in range(N) %}{% set ns.v = [ns.v] %}{% endfor %}ok";
  const auto sized = [&](const std::string& n) {
    return std::string(grow).replace(grow.find("(N)"), 3, "(" + n + ")");
  };
  EXPECT_EQ(rendered(sized("127")), "ok");
  EXPECT_THAT(fault_of(sized("128")), HasSubstr("nesting depth limit of 128"));
  Json deep = 1;
  for (int i = 0; i < 127; ++i) deep = Json::array({deep});
  EXPECT_EQ(rendered("ok", Json{{"k", deep}}), "ok");
  for (int i = 0; i < 2; ++i) deep = Json::array({deep});
  EXPECT_THAT(fault_of("x", Json{{"k", deep}}), HasSubstr("k: a value exceeds the nesting"));
}

TEST(ChatTemplateLimits, Output) {
  const std::string mib = "{% set m = 'x' * 1048576 %}";
  EXPECT_EQ(rendered(mib + "{% for i in range(16) %}{{ m }}{% endfor %}").size(),
            jinja::kMaxOutputBytes);
  const std::string message = "output limit of 16777216 bytes";
  EXPECT_THAT(fault_of(mib + "{% for i in range(16) %}{{ m }}{% endfor %}x"), HasSubstr(message));
  for (const char* expression :
       {"'x' * 9223372036854775807", "'x'.center(999999999999)", "'%999999999d' % 1",
        "'{:>999999999}'.format(1)", "'x'|indent(999999999, true)", "'x'.zfill(99999999999)",
        "[1]|tojson(indent=999999999)", "m.replace('x', 'yyyyyyyyyyyyyyyyyyyyyyy')",
        "[m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m]|join", "'%.99999999f' % 1.0"}) {
    EXPECT_THAT(fault_of(mib + "{{ " + expression + " }}"),
                testing::AnyOf(HasSubstr(message), HasSubstr("precision exceeds 1000")))
        << expression;
  }
}

TEST(ChatTemplateLimits, Steps) {
  const std::string message = "limit of 10000000 steps";
  EXPECT_THAT(
      fault_of("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"),
      HasSubstr(message));
  EXPECT_THAT(fault_of("{{ [1] * 9223372036854775807 }}"), HasSubstr(message));
  // Values that share their parts 100 levels deep: 2^100 elements if walked.
  const std::string shared =
      "{% set ns = namespace(a=[], b=[]) %}{% for i in range(100) %}{% set ns.a = [ns.a, ns.a] %}"
      "{% set ns.b = [ns.b, ns.b] %}{% endfor %}";
  EXPECT_THAT(fault_of(shared + "{{ ns.a == ns.b }}"), HasSubstr(message));
  EXPECT_THAT(fault_of(shared + "{{ ns.a in [ns.b] }}"), HasSubstr(message));
  EXPECT_THAT(fault_of(shared + "{{ [ns.a]|sort == [ns.b]|unique|list }}"),
              testing::AnyOf(HasSubstr(message), HasSubstr("unhashable")));
  EXPECT_THAT(fault_of(shared + "{{ ns.a }}"), HasSubstr("limit"));
  EXPECT_THAT(fault_of(shared + "{{ ns.a|tojson }}"), HasSubstr("limit"));
  // Searching one long text for another is work in proportion to both.
  EXPECT_THAT(fault_of("{% set a = 'a' * 8000000 %}{{ (a[1:4000000] + 'b') in a }}"),
              HasSubstr(message));
}

TEST(ChatTemplateLimits, StepsOfHashes) {
  // Keys that share their parts 100 levels deep: 2^100 elements if walked.
  const std::string shared =
      "{% set ns = namespace(a=(1,), b=(1,)) %}{% for i in range(100) %}{% set ns.a = (ns.a, ns.a)"
      " %}{% set ns.b = (ns.b, ns.b) %}{% endfor %}";
  for (const char* expression :
       {"{ns.a: 1}", "ns.a in {1: 2}", "ns.a in {1: 2}.keys()", "{1: 2}.get(ns.a)", "{1: 2}[ns.a]",
        "ns.a is filter", "ns.a is test", "dict([(ns.a, 1)])", "ns.b in ([ns.a]|select)"}) {
    EXPECT_THAT(fault_of(shared + "{{ " + expression + " }}"), HasSubstr("limit of 10000000 steps"))
        << expression;
  }
}

TEST(ChatTemplateLimits, StepsOfTexts) {
  // Each pass reads 10 million bytes; nine tenths of the steps are spent before.
  for (const char* expression : {"x.startswith(x)",
                                 "x.endswith(('b', x))",
                                 "x|trim",
                                 "x.strip()",
                                 "x|float",
                                 "x|int",
                                 "x|truncate(9999999)",
                                 "x|wordcount",
                                 "x is upper",
                                 "{x: 1}",
                                 "d.get(x)",
                                 "d[x]",
                                 "x in d",
                                 "x[9999998:9999999]",
                                 "x[::-1]",
                                 "[1][x]",
                                 "d|attr(x)",
                                 "x|upper",
                                 "[x]|string",
                                 "[x]|map('trim')",
                                 "[x]|select('upper')",
                                 "dict(**{x: 1})"}) {
    EXPECT_THAT(
        fault_of("{% set spent = [1] * 3000000 %}{% set x = 'a' * 10000000 %}{% set d = {'a': 1} %}"
                 "{% for i in range(100000) %}{% if " +
                 std::string(expression) + " %}{% endif %}{% endfor %}"),
        HasSubstr("limit of 10000000 steps"))
        << expression;
  }
}

TEST(ChatTemplateLimits, StepsOfNames) {
  std::string names;
  for (int i = 0; i < 20000; ++i) names += "{% set a" + std::to_string(i) + " = 1 %}";
  const std::string loop = "{% for i in range(100000) %}{{ z }}{{ z }}{{ z }}{% endfor %}";
  EXPECT_THAT(fault_of(names + loop), HasSubstr("limit of 10000000 steps"));
  EXPECT_THAT(fault_of(repeat("{% for i in [1] %}", 100) + "{% for j in range(10) %}" + loop +
                       "{% endfor %}" + repeat("{% endfor %}", 100)),
              HasSubstr("limit of 10000000 steps"));
}

TEST(ChatTemplate, TakesRangesAsKeysByTheirElements) {
  EXPECT_EQ(rendered("{{ {range(3, 4, 9): 'x'}[range(3, 5, 2)] }}"), "x");
  EXPECT_EQ(rendered("{{ [range(3), range(1, 4), range(0, 3), range(0)]|unique|list|length }}"),
            "3");
}

TEST(ChatTemplateLimits, Range) {
  EXPECT_EQ(rendered("{{ range(100000)|length }}"), "100000");
  EXPECT_THAT(fault_of("{{ range(100001)|length }}"), HasSubstr("limit of 100000"));
  EXPECT_THAT(fault_of("{{ range(-9223372036854775807, 9223372036854775807) }}"),
              HasSubstr("limit of 100000"));
}

TEST(ChatTemplate, ReportsIntegersOver64Bits) {
  for (const char* expression : {"9223372036854775807 + 1", "-9223372036854775807 - 2", "2 ** 63",
                                 "(-9223372036854775807 - 1) // -1", "1e300|int",
                                 "-(-9223372036854775807 - 1)", "'99999999999999999999'|int"}) {
    EXPECT_THAT(fault_of("{{ " + std::string(expression) + " }}"),
                HasSubstr("an integer exceeds 64 bits"))
        << expression;
  }
  EXPECT_EQ(rendered("{{ (-9223372036854775807 - 1) % -1 }}"), "0");
}

TEST(ChatTemplate, PrintsIntegersOver64BitsSignedButDoesNotComputeWithThem) {
  const Json extra =
      Json::parse(R"({"k": {"maximum": 18446744073709551615}, "x": 9223372036854775808})");
  EXPECT_EQ(
      rendered("{{ k|tojson }} {{ x }} {{ [x] }} {{ x|string }} {{ x|int }} {{ x|abs }}", extra),
      R"({"maximum": 18446744073709551615} 9223372036854775808 [9223372036854775808] )"
      "9223372036854775808 9223372036854775808 9223372036854775808");
  EXPECT_EQ(
      rendered("{{ x is integer }} {{ x is number }} {{ x is float }} {{ x > 5 }} {{ x == x }} "
               "{{ x == k.maximum }} {{ x == 9223372036854775807 }} {{ {x: 1}[x] }}",
               extra),
      "True True False True True False False 1");
  for (const char* expression : {"x + 1", "-x", "x ** 2", "range(x)", "x % 2"}) {
    EXPECT_THAT(fault_of("{{ " + std::string(expression) + " }}", extra),
                HasSubstr("exceeds 64 bits"))
        << expression;
  }
}

TEST(ChatTemplate, HasATemplateOfItsOwnForRequestsWithTools) {
  const ChatTemplate chat("plain", "", "", "with {{ tools[0] }}");
  const auto rendered_with = [&](const Json& extra) {
    return *chat.render(Json::array(), true, extra);
  };
  EXPECT_EQ(rendered_with(Json()), "plain");
  EXPECT_EQ(rendered_with(Json{{"tools", nullptr}}), "plain");
  EXPECT_EQ(rendered_with(Json{{"tools", Json::array()}}), "plain");
  EXPECT_EQ(rendered_with(Json{{"tools", Json::array({"t"})}}), "with t");
}

TEST(ChatTemplate, OfAModelHasItsTokensAndNamesItsFile) {
  TokenizerSpec spec = make_byte_spec();
  spec.bos_token_id = add_special_token(spec, "<s>");
  spec.eos_token_id = 0xE2;  // half a character
  EXPECT_FALSE(make_chat_template(*make_tokenizer(spec, "m.gguf"), "m.gguf"));
  spec.chat_template = "{{ bos_token }}{{ eos_token }}";
  spec.tool_use_template = "tools";
  const auto chat = make_chat_template(*make_tokenizer(spec, "m.gguf"), "m.gguf");
  ASSERT_TRUE(chat);
  EXPECT_EQ(*chat->render(Json::array(), true, Json()), "<s>\xef\xbf\xbd");
  EXPECT_EQ(*chat->render(Json::array(), true, Json{{"tools", {1}}}), "tools");
  spec.tool_use_template = "{{";
  expect_error([&] { make_chat_template(*make_tokenizer(spec, "m.gguf"), "m.gguf"); },
               {"m.gguf: chat template, line 1, column 1"});
}

TEST(ChatTemplate, PrintsANamespaceChainOrStopsAtTheDepthLimit) {
  EXPECT_THAT(fault_of("{% set ns = namespace() %}{% for i in range(300) %}{% set ns = "
                       "namespace(p=ns) %}{% endfor %}x"),
              HasSubstr("no fault"));
  EXPECT_THAT(fault_of("{% set top = namespace(v=none) %}{% for i in range(300) %}{% set top.v = "
                       "namespace(p=top.v) %}{% endfor %}{{ top }}"),
              HasSubstr("nesting depth limit of 128"));
}

TEST(ChatTemplate, RendersOnManyThreadsAtOnce) {
  const ChatTemplate chat(
      "{% macro m(x) %}{{ x|upper }}{% endmacro %}{% set ns = namespace(n=0) %}"
      "{% for i in messages %}{% set ns.n = ns.n + i %}{{ m('a' ~ i) }}{% endfor %}={{ ns.n }}",
      "", "");
  std::vector<std::jthread> threads;
  std::vector<int> wrong(4, 0);
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 200; ++i) {
        const auto result = chat.render(Json::array({thread, i}), false, Json());
        const std::string expected = "A" + std::to_string(thread) + "A" + std::to_string(i) + "=" +
                                     std::to_string(thread + i);
        wrong[static_cast<std::size_t>(thread)] += !result || *result != expected;
      }
    });
  }
  threads.clear();
  EXPECT_THAT(wrong, testing::Each(0));
}

TEST(JinjaText, StaysInsideOfTextsThatAreNotUtf8) {
  // Half characters at the edges of an allocation of their own, where a sanitizer sees a step out.
  for (const std::string& text : {std::string("\xf0"), std::string("\x80"), std::string("a\xe2"),
                                  std::string("\x80\x80"), std::string(40, '\x80')}) {
    const std::vector<char> bytes(text.begin(), text.end());
    const std::string_view view(bytes.data(), bytes.size());
    for (std::size_t offset = 0; offset < view.size();) jinja::next_code_point(view, offset);
    EXPECT_LE(jinja::byte_offset(view, 100), view.size());
    EXPECT_LE(jinja::strip_text(view, nullptr, true, true).size(), view.size());
    EXPECT_EQ(jinja::split_code_points(view).empty(), view.empty());
    jinja::split_lines(view, true);
    jinja::to_upper(view);
  }
}

// Pieces from which random templates are put together.
const std::vector<std::string>& pieces() {
  static const std::vector<std::string> kPieces = {"{{ ",
                                                   " }}",
                                                   "{{- ",
                                                   " -}}",
                                                   "{% ",
                                                   " %}",
                                                   "{%- ",
                                                   " -%}",
                                                   "{# ",
                                                   " #}",
                                                   "{% if x %}",
                                                   "{% elif y %}",
                                                   "{% else %}",
                                                   "{% endif %}",
                                                   "{% for a in messages %}",
                                                   "{% for a, b in d|items %}",
                                                   "{% endfor %}",
                                                   "{% break %}",
                                                   "{% continue %}",
                                                   "{% set x = ",
                                                   "{% set ns.x = ",
                                                   "{% set x %}",
                                                   "{% endset %}",
                                                   "{% macro m(x, y=1) %}",
                                                   "{% endmacro %}",
                                                   "{% call m() %}",
                                                   "{% endcall %}",
                                                   "{% filter upper %}",
                                                   "{% endfilter %}",
                                                   "{% raw %}",
                                                   "{% endraw %}",
                                                   "{% generation %}",
                                                   "{% endgeneration %}",
                                                   "{% with a=1 %}",
                                                   "{% endwith %}",
                                                   "m(1)",
                                                   "caller()",
                                                   "loop.index",
                                                   "loop",
                                                   "loop.cycle(1, 2)",
                                                   "namespace(x=1)",
                                                   "ns",
                                                   "messages",
                                                   "messages[0]",
                                                   ".content",
                                                   "['role']",
                                                   "d",
                                                   "x",
                                                   "'text'",
                                                   "\"é🙂\"",
                                                   "1",
                                                   "2.5",
                                                   "-1",
                                                   "9223372036854775807",
                                                   "none",
                                                   "true",
                                                   "[",
                                                   "]",
                                                   "(",
                                                   ")",
                                                   "{",
                                                   "}",
                                                   ",",
                                                   ":",
                                                   ".",
                                                   "|",
                                                   "+",
                                                   "-",
                                                   "*",
                                                   "/",
                                                   "//",
                                                   "%",
                                                   "**",
                                                   "~",
                                                   "==",
                                                   "<",
                                                   ">=",
                                                   " and ",
                                                   " or ",
                                                   " not ",
                                                   " in ",
                                                   " is ",
                                                   " if ",
                                                   " else ",
                                                   "|length",
                                                   "|tojson",
                                                   "|tojson(indent=2)",
                                                   "|map('upper')",
                                                   "|map(attribute='role')",
                                                   "|selectattr('role', 'eq', 'user')",
                                                   "|list",
                                                   "|join(',')",
                                                   "|first",
                                                   "|sort",
                                                   "|unique",
                                                   "|reverse",
                                                   "|default('d')",
                                                   "|int",
                                                   "|round",
                                                   "|batch(2)",
                                                   "|sum",
                                                   "|dictsort",
                                                   "|groupby",
                                                   ".strip()",
                                                   ".split(',')",
                                                   ".items()",
                                                   ".get('a')",
                                                   ".format(1, 'a')",
                                                   ".replace('a', '')",
                                                   "[1:]",
                                                   "[::-1]",
                                                   "[:2]",
                                                   "range(3)",
                                                   "range(99999)",
                                                   "'%s%5d' ",
                                                   "is defined",
                                                   "is string",
                                                   "is mapping",
                                                   "is divisibleby 2",
                                                   "raise_exception('x')",
                                                   "strftime_now('%Y')",
                                                   "\n",
                                                   "  ",
                                                   "\\",
                                                   "'",
                                                   "\"",
                                                   "recursive",
                                                   "varargs",
                                                   "kwargs",
                                                   "*x",
                                                   "**d",
                                                   "=",
                                                   "x='a' * 3"};
  return kPieces;
}

std::string random_template(std::mt19937_64& random) {
  std::string source;
  const std::size_t count = 1 + random() % 40;
  for (std::size_t i = 0; i < count; ++i) source += pieces()[random() % pieces().size()];
  return source;
}

std::string mutated(std::string source, std::mt19937_64& random) {
  for (std::size_t i = 1 + random() % 6; i > 0 && !source.empty(); --i) {
    const std::size_t at = random() % source.size();
    switch (random() % 4) {
      case 0: source.erase(at, 1 + random() % 8); break;
      case 1: source.insert(at, pieces()[random() % pieces().size()]); break;
      case 2: source[at] = static_cast<char>(random() % 128); break;
      default: source.insert(at, source.substr(random() % source.size(), random() % 40));
    }
  }
  return source;
}

// A template in the style of published ones, for mutation.
constexpr const char* kWhole =
    "{{- bos_token }}{% macro show(v) -%}{% if v is mapping %}{{ v|tojson(indent=1) }}{% elif v is "
    "iterable and v is not string %}{% for i in v %}{{ show(i) }}{% endfor %}{% else %}{{ v }}"
    "{% endif %}{%- endmacro %}{% set ns = namespace(n=0, last='') %}{% for m in messages if "
    "m.role "
    "!= 'system' %}{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ "
    "raise_exception('order') }}{% endif %}{% set ns.n = ns.n + m.content|length %}{{ '<|' ~ "
    "m.role "
    "+ '|>\n' + m.content.strip().split('</think>')[-1] }}{{ show(d) }}{% if loop.last and not "
    "add_generation_prompt %}{% continue %}{% endif %}{{ loop.cycle('a', 'b') }}{% else %}none"
    "{% endfor %}{% set x %}{{ ns.n }}{% endset %}{{ '%s-%05d' % (x, ns.n) }}{{ messages[::-1]|"
    "map(attribute='content')|map('upper')|join('/') }}";

TEST(ChatTemplate, SurvivesRandomTemplates) {
  constexpr int kTemplates = 4000;
  const std::uint64_t seed = std::random_device{}();
  RecordProperty("seed", std::to_string(seed));
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  std::mt19937_64 random(seed);
  const Json messages = Json::parse(
      R"([{"role":"user","content":"héllo"},{"role":"assistant","content":"<think>x</think>y"}])");
  const Json extra = Json::parse(R"({"d":{"a":1,"b":[1,2,{"c":null}]},"x":[3,1,2]})");
  ASSERT_TRUE(render(kWhole, extra, messages));
  int parsed = 0;
  int ok = 0;
  for (int i = 0; i < kTemplates; ++i) {
    const std::string source = i % 2 ? random_template(random) : mutated(kWhole, random);
    try {
      const ChatTemplate chat(source, "<s>", "</s>");
      ++parsed;
      const auto result = chat.render(messages, i % 3 == 0, extra);
      ok += result.ok();
      if (!result) {
        EXPECT_EQ(result.fault().code, "invalid_request_error") << source;
      }
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("chat template, line ")) << source;
    }
  }
  // The random templates must not all end in the parser.
  EXPECT_GT(parsed, kTemplates / 20);
  EXPECT_GT(ok, kTemplates / 100);
}

}  // namespace
}  // namespace lockstep::model
