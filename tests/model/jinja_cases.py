"""Templates that the interpreter must render as jinja2 does: snippets by topic, then whole chat
templates in their published forms with conversations for each."""

DATA = {
    "s": "Hello World",
    "u": "naïve ẞtraße 日本語 🙂",
    "n": 7,
    "neg": -7,
    "f": 2.5,
    "t": True,
    "z": None,
    "empty": "",
    "xs": [3, 1, 2],
    "words": ["pear", "Apple", "fig", "apple"],
    "d": {"b": 1, "a": [1, 2, {"k": "v"}], "items": "shadow"},
    "users": [
        {"name": "ann", "age": 30, "tags": ["x"]},
        {"name": "Bob", "age": 25, "tags": []},
        {"name": "cid", "age": 30, "extra": None},
    ],
    "nested": {"list": [[1, 2], [3, 4]], "deep": {"deeper": {"deepest": "end"}}},
    "html": "<a href=\"x\">Tom & 'Jerry'</a>",
    "lines": "one\ntwo\n\nthree",
    "spaces": "  padded\t\n",
    "big": 9007199254740993,
    "floats": [1.0, 0.1, 1e16, 1e-5, 123456789.123, 1e22, 3.0e-7, -0.0],
}

SNIPPETS = {
    "text": r"""
plain text
{{ s }}
a { b } c
{ {s} }
{{s}}{{s}}
{{ '{{' }} and {{ "}}" }}
{{ '{%' }}
}} stray %} closers #}
a{# comment #}b
a{# {{ s }} #}b
{{ 1 }}{# x #}{{ 2 }}
{% raw %}{{ s }}{% if %}{% endraw %}
a{%- raw -%}  {{ x }}  {%- endraw -%}  b
ünïcödé 日本語 🙂
{{ s }
{{ s
{% if
{# never closed
{% raw %} never closed
{{ }}
{% %}
{{ s }} tail
""",
    "literals": r"""
{{ 'a' "b" 'c' }}
{{ 'it''s' }}
{{ "q\"q" }}
{{ 'tab\there\nnew' }}
{{ '\x41\u00e9\U0001F642\101' }}
{{ '\q \d' }}
{{ 'a\\b' }}
{{ 1_000 }}
{{ 0x1F }} {{ 0b101 }} {{ 0o17 }}
{{ 1.5 }} {{ 1e3 }} {{ 1.5e-3 }} {{ 2.0 }}
{{ 007 }}
{{ true }} {{ True }} {{ false }} {{ False }} {{ none }} {{ None }}
{{ [] }} {{ [1, 'a', None, 2.0, true] }}
{{ () }} {{ (1,) }} {{ (1, 2) }} {{ 1, 2 }}
{{ {} }} {{ {'a': 1, "b": [2], 3: none} }}
{{ {'a': 1, 'a': 2} }}
{{ {1: 'x', true: 'y', 1.0: 'z'} }}
{{ {[1]: 2} }}
{{ [1, 2,] }} {{ {'a': 1,} }} {{ (1, 2,) }}
{{ "it's" }} {{ ["it's", 'say "hi"', 'both \' and "'] }}
{{ ['\n\t\\', '\x00\x7f', 'é', '\u200b'] }}
{{ floats }}
{{ 1e400 }}
{{ big }} {{ big + 1 }}
{{ 1 if t }}{{ 1 if z }}
{{ 'é' }} {{ ['é', '日本', '🙂'] }}
{{ 1.2.3 }}
{{ 'unclosed }}
{{ [1, 2 }}
{{ (1 }}
{{ 1) }}
{{ a b }}
""",
    "arithmetic": r"""
{{ 1 + 2 * 3 - 4 }}
{{ 7 / 2 }} {{ 6 / 3 }} {{ 7 // 2 }} {{ 7 % 3 }}
{{ neg // 2 }} {{ neg % 3 }} {{ 7 // -2 }} {{ 7 % -3 }}
{{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 0.5 }} {{ 2 ** 3 ** 2 }}
{{ -2 ** 2 }} {{ (-2) ** 2 }} {{ --2 }} {{ +3 }} {{ -n }}
{{ 7.5 // 2 }} {{ -7.5 // 2 }} {{ 7.5 % 2 }} {{ -7.5 % 2 }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 1 % 0 }}
{{ 0.1 + 0.2 }}
{{ 1 + 1.0 }} {{ 3 * 1.5 }} {{ 10 - 0.5 }}
{{ true + true }} {{ true * 3 }}
{{ 'ab' * 3 }} {{ 3 * 'ab' }} {{ 'ab' * 0 }} {{ 'ab' * -1 }}
{{ [1, 2] * 2 }} {{ [1] + [2] }} {{ (1,) + (2,) }}
{{ 'a' + 'b' }}
{{ 'a' + 1 }}
{{ 1 + 'a' }}
{{ [1] + (2,) }}
{{ none + 1 }}
{{ -'a' }}
{{ 'a' ~ 1 ~ none ~ true ~ 2.0 }}
{{ 1 + 2 ~ 3 + 4 }}
{{ 1 ~ 2 * 3 }}
{{ missing ~ 'x' }}
{{ [1] ~ {} }}
{{ 10 - 2 - 3 }} {{ 100 / 10 / 2 }}
{{ 1.0 }} {{ 100.0 }} {{ 1e15 }} {{ 1e16 }} {{ 0.0001 }} {{ 0.00001 }}
{{ 5 // 0.3 }} {{ 5 % 0.3 }}
{{ -1|abs }} {{ (-1)|abs }}
""",
    "logic": r"""
{{ 1 and 2 }} {{ 0 and 2 }} {{ 0 or 'x' }} {{ '' or [] }} {{ not 1 }} {{ not '' }}
{{ not not 1 }} {{ not 1 == 2 }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 3 > 2 >= 2 == 2 }}
{{ 1 == 1.0 }} {{ 1 == true }} {{ 'a' == 'a' }} {{ 1 != 2 }} {{ 1 == '1' }}
{{ [1, 2] == [1, 2] }} {{ [1] == (1,) }} {{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1} }}
{{ 'a' < 'b' }} {{ 'B' < 'a' }} {{ 'é' > 'z' }} {{ [1, 2] < [1, 3] }} {{ (1,) < (1, 2) }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ none == none }} {{ none == false }}
{{ 'ell' in s }} {{ 'x' in s }} {{ 'x' not in s }} {{ '' in s }}
{{ 3 in xs }} {{ 4 in xs }} {{ 1.0 in xs }}
{{ 'a' in d }} {{ 1 in d }} {{ 'zz' not in d }}
{{ 1 in 'a' }}
{{ 1 in 1 }}
{{ 'x' in missing }}
{{ 1 in (1, 2) }} {{ [1] in [[1], 2] }}
{{ 'yes' if t else 'no' }} {{ 'yes' if z else 'no' }} {{ 1 if 0 else 2 if 0 else 3 }}
{{ ('a' if t) ~ 'b' }}
{{ t and s and n }} {{ z or empty or n }}
{{ 1 or 1 / 0 }} {{ 0 and 1 / 0 }}
{{ 1 in [1] == true }}
{{ not 'a' in 'abc' }}
{{ (1 if t else 2) + 1 }}
{{ range(3) == range(0, 3, 1) }}
{{ [] == () }} {{ {} == [] }}
{{ 1 == 1 == 1 }} {{ 1 < 2 > 1 }}
""",
    "access": r"""
{{ d.a }} {{ d['a'] }} {{ d.a[2].k }} {{ d['a'][2]['k'] }} {{ d.a.2.k }}
{{ d['items'] }}
{{ d.missing }}x{{ d['missing'] }}y
{{ d.missing.more }}
{{ missing.more }}
{{ missing['more'] }}
{{ missing[0] }}
{{ missing() }}
{{ missing }}x
{{ xs[0] }} {{ xs[-1] }} {{ xs[5] }}x{{ xs[-5] }}
{{ xs.0 }} {{ xs.1 }}
{{ xs['a'] }}x{{ xs[none] }}y
{{ xs[true] }}
{{ s[0] }} {{ s[-1] }} {{ s[100] }}x
{{ u[2] }} {{ u[6] }} {{ u[-1] }} {{ u|length }}
{{ nested.list[1][0] }} {{ nested.deep.deeper.deepest }}
{{ z.foo }}x{{ z['foo'] }}y
{{ n.foo }}x{{ n['foo'] }}y
{{ z.foo.bar }}
{{ users[0].name }} {{ users[0]['age'] }} {{ users[2].tags }}x
{{ d.get('a') }} {{ d.get('x') }} {{ d.get('x', 5) }}
{{ d[[1]] }}x
{{ d[1] }}x
{{ (1, 2)[1] }} {{ [1, 2, 3][1] }} {{ 'abc'[1] }} {{ {'a': 5}['a'] }} {{ {'a': 5}.a }}
{{ s.nope }}x
{{ s.nope() }}
{{ s() }}
{{ z() }}
{{ 5.foo }}
{{ xs[1, 2] }}x
{{ s.__class__ }}x
{{ s.__class__.__mro__ }}
{{ xs.append }}x
{{ xs.append(1) }}
{{ d.update({'x': 1}) }}
{{ d.pop('a') }}
{{ xs.copy() }} {{ d.copy()|length }}
{{ xs.index(2) }} {{ xs.count(1) }} {{ xs.index(99) }}
""",
    "slices": r"""
{{ xs[1:] }} {{ xs[:1] }} {{ xs[:] }} {{ xs[::2] }} {{ xs[::-1] }} {{ xs[-2:] }} {{ xs[:-1] }}
{{ s[1:4] }} {{ s[:-1] }} {{ s[::-1] }} {{ s[::2] }} {{ s[5:2] }}x {{ s[100:] }}y
{{ u[1:8] }} {{ u[-3:] }} {{ u[::-1] }} {{ u[:3] }}
{{ (1, 2, 3)[1:] }}
{{ xs[n:] }} {{ xs[:n] }} {{ xs[none:none] }}
{{ xs[::0] }}
{{ xs['a':] }}
{{ missing[1:] }}
{{ z[1:] }}
{{ d[1:] }}
{{ range(10)[2:8:3]|list }} {{ range(10)[::-2]|list }} {{ range(5)[1:3] }}
{{ xs[1:][0] }} {{ messages[1:]|length }}
{{ xs[-100:100] }} {{ xs[100:-100] }} {{ xs[3:0:-1] }} {{ xs[:0:-1] }} {{ xs[-1:-3:-1] }}
""",
    "undefined": r"""
{{ missing is defined }} {{ missing is undefined }} {{ s is defined }} {{ d.x is defined }}
{{ z is defined }} {{ z is none }} {{ missing is none }}
{{ missing == missing2 }} {{ missing == none }} {{ missing == '' }} {{ missing != 1 }}
{{ missing + 1 }}
{{ 'a' + missing }}
{{ -missing }}
{{ missing < 1 }}
{{ missing|length }} {{ missing|list }} {{ missing|upper }}x{{ missing|trim }}y
{{ missing|default('d') }} {{ d.x|default('d') }} {{ z|default('d') }} {{ z|default('d', true) }}
{{ ''|default('d') }}x {{ ''|d('e', boolean=true) }} {{ missing|d }}y
{{ missing|default }}x
{{ missing.a|default('x') }}
{{ d.x.y|default('x') }}
{{ d.x.y is defined }}
{% for x in missing %}{{ x }}{% else %}none{% endfor %}
{% if missing %}yes{% else %}no{% endif %}
{{ not missing }} {{ missing or 'x' }} {{ missing and 'x' }}y
{{ missing|tojson }}
{{ [missing] }} {{ {'a': missing} }}
{{ missing|int }}
{{ missing|first }}x{{ []|first }}y{{ []|last }}z
{{ missing|join(',') }}x
{{ missing is string }} {{ missing is mapping }} {{ missing is iterable }} {{ missing is sequence }}
{{ missing is callable }} {{ missing is number }}
{{ missing|string }}x
{{ missing ~ missing }}x
{{ '%s' % missing }}x
{{ tools is none }} {{ documents is none }} {{ tools is defined }}
""",
    "whitespace": r"""
a  {{- s -}}  b
a {%- if t %} x {% endif -%} b
a {%- if t -%} x {%- endif -%} b
 {{ 1 }} \n
{{- 1 }}{{ 2 -}}
{{-1}}
{{+1}}
{{ -1 }}
a {#- c -#} b
a  {#- c #} b
""",
    "if": r"""
{% if t %}a{% endif %}
{% if z %}a{% else %}b{% endif %}
{% if z %}a{% elif t %}b{% else %}c{% endif %}
{% if z %}a{% elif empty %}b{% elif missing %}c{% else %}d{% endif %}
{% if t: %}a{% endif %}
{% if n > 5 and s %}x{% endif %}
{% if t %}{% if z %}a{% else %}b{% endif %}{% endif %}
{% if t %}{% set q = 1 %}{% endif %}{{ q }}
{% if z %}{% set q = 1 %}{% endif %}{{ q }}x
{% if t %}a{% else %}b{% else %}c{% endif %}
{% if t %}a
{% endif %}
{% else %}
{% if %}a{% endif %}
{% if t %}a{% endfor %}
{% elif t %}
{% if (t) %}a{% endif %}
{% if not z %}a{% endif %}
{% if t %}{% endif %}x
{% unknown %}
{% if z %}{{ x|nofilter }}{% endif %}ok
{% if t %}{{ s|nofilter }}{% endif %}ok
{{ s|nofilter }}
{{ s is notest }}
{{ (s|nofilter) if z else 'fine' }}
{{ s if t else (s|nofilter) }}
{% if z is notest %}{% endif %}
{{ 'a' if true }}{{ 'b' if false }}
""",
    "for": r"""
{% for x in xs %}{{ x }},{% endfor %}
{% for x in xs %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }} {% endfor %}
{% for x in xs %}{{ loop.first }}{{ loop.last }}{{ loop.length }} {% endfor %}
{% for x in xs %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}
{% for x in xs %}{{ loop.previtem is defined }}{{ loop.nextitem is undefined }} {% endfor %}
{% for x in xs %}{{ loop.cycle('odd', 'even') }} {% endfor %}
{% for x in [1, 1, 2, 2, 1] %}{{ loop.changed(x) }} {% endfor %}
{% for x in xs if x > 1 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% endfor %}
{% for x in xs if x > 10 %}{{ x }}{% else %}none{% endfor %}
{% for x in [] %}{{ x }}{% else %}empty{% endfor %}
{% for x in xs %}{{ x }}{% else %}no{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}
{% for k in d %}{{ k }},{% endfor %}
{% for k, v in d|items %}{{ k }}={{ v }};{% endfor %}
{% for v in d.values() %}{{ v }},{% endfor %}{% for k in d.keys() %}{{ k }}{% endfor %}
{% for c in 'añ🙂' %}[{{ c }}]{% endfor %}
{% for a, b in [(1, 2), [3, 4]] %}{{ a }}-{{ b }} {% endfor %}
{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}
{% for a, b in [1] %}{{ a }}{% endfor %}
{% for a, in [(1,)] %}{{ a }}{% endfor %}
{% for x in 5 %}{{ x }}{% endfor %}
{% for x in none %}{{ x }}{% endfor %}
{% for x in xs %}{% for y in xs %}{{ loop.index }}{{ loop.depth }}{% endfor %}{{ loop.index }} {% endfor %}
{% for x in xs %}{% set outer = loop %}{% for y in xs %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}
{% for x in range(10) %}{% if x == 3 %}{% continue %}{% endif %}{% if x == 6 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for x in xs %}{% break %}{% else %}none{% endfor %}x
{% for x in [1, 2] %}{% for y in [1, 2, 3] %}{% if y == 2 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{% endfor %}
{% break %}
{% continue %}
{% for x in xs %}{% endfor %}{{ x }}y
{% set q = 0 %}{% for x in xs %}{% set q = q + x %}{{ q }} {% endfor %}{{ q }}
{% set q = 0 %}{% for x in xs %}{{ q }}{% set q = x %}{{ q }} {% endfor %}
{% for x in xs %}{{ q }}{% set q = x %}{% endfor %}
{{ loop }}x
{% for x in xs %}{{ loop }}{% endfor %}
{{ loop.index }}
{% for x in xs %}{{ loop|length }}{{ loop.nope }}{% endfor %}
{% for loop in xs %}{{ loop }}{% endfor %}
{% for x in range(3) %}{{ x }}{% endfor %}{% for x in range(5, 1, -2) %}{{ x }}{% endfor %}
{% for x in (1, 2) %}{{ x }}{% endfor %}{% for x in 1, 2 %}{{ x }}{% endfor %}
{% for m in users %}{{ m.name }}{% if not loop.last %}, {% endif %}{% endfor %}
{% for m in users[1:] %}{{ loop.index0 }}{{ m['name'] }}{% endfor %}
{% for x in xs|sort %}{{ x }}{% endfor %}{% for x in xs|reverse %}{{ x }}{% endfor %}
{% for x in [1, 2] %}{{ x }}{% set x = 9 %}{{ x }}{% endfor %}
{% for x in xs if x is odd %}{{ x }}{% endfor %}
{% for x in xs
%}{{ x }}
{% endfor %}
{% for x in xs %}{{ x }}
{% for x xs %}{% endfor %}
{% for in xs %}{% endfor %}
{% for x in %}{% endfor %}
{% for true in xs %}{% endfor %}
{% for a.b in xs %}{% endfor %}
{% for x in d.a %}{% if x is mapping %}{{ x.k }}{% else %}{{ x }}{% endif %}{% endfor %}
{% for i in range(3) %}{{ loop.index is even }}{{ loop.index is divisibleby 3 }} {% endfor %}
{% for x in xs %}{% set ns = namespace(v=x) %}{{ ns.v }}{% endfor %}
{% for m in users if m.age == 30 %}{{ m.name }}{{ loop.last }}{% endfor %}
{% for x in xs %}{% if loop.first %}{% continue %}{% endif %}{{ x }}{% endfor %}
""",
    "set": r"""
{% set x = 1 %}{{ x }}
{% set x, y = 1, 2 %}{{ x }}{{ y }}
{% set x, y = [1, 2] %}{{ x }}{{ y }}
{% set (x, y) = 'ab' %}{{ x }}{{ y }}
{% set x, y = 1 %}
{% set x, y = 1, 2, 3 %}
{% set x = 1, 2 %}{{ x }}
{% set x %}block {{ s }}{% endset %}[{{ x }}]
{% set x | upper %}block {{ s }}{% endset %}[{{ x }}]
{% set x | upper | replace('L', '_') %}hello{% endset %}[{{ x }}]
{% set x %}{% set inner = 1 %}{% endset %}{{ inner }}y
{% set ns = namespace() %}{% set ns.a = 1 %}{{ ns.a }}
{% set ns = namespace(a=1, b='x') %}{{ ns.a }}{{ ns.b }}{{ ns.c }}y
{% set ns = namespace({'a': 1}) %}{{ ns.a }} {{ ns['a'] }}
{% set ns = namespace(found=false) %}{% for x in xs %}{% if x == 1 %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.found }}
{% set ns = namespace(n=0) %}{% for x in xs %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.n }}
{% set ns = namespace(a=1) %}{{ ns }}
{% set ns = namespace(a=1) %}{% set ns.b %}text{% endset %}{{ ns.b }}
{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}
{% set d.x = 1 %}
{% set missing.x = 1 %}
{% set s = 'changed' %}{{ s }}
{% set x = x %}{{ x }}y
{% set true = 1 %}
{% set 1 = 1 %}
{% set x %}
{% set x = %}
{% set x = 1 if t else 2 %}{{ x }}
{% set x = 'a' ~ 'b' %}{{ x }}
{% set x = [] %}{% set x = x + [1] %}{{ x }}
{% set ns = namespace(l=[]) %}{% for x in xs %}{% set ns.l = ns.l + [x] %}{% endfor %}{{ ns.l }}
{% set ns = namespace() %}{% set ns.self = ns %}{{ ns.self.self is defined }}
{% set ns = namespace() %}{% set ns.self = ns %}{{ ns }}
{% set ns = namespace(a=1) %}{{ ns == ns }} {{ ns is mapping }} {{ ns is defined }}
{% set x = dict(a=1, b=2) %}{{ x }}
{% set x = dict({'a': 1}, b=2) %}{{ x }}{{ dict([('k', 'v')]) }}{{ dict() }}
{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}y
{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q }}y
{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}
{% filter upper %}abc {{ s }}{% endfilter %}
{% filter replace('a', 'b') | upper %}banana{% endfilter %}
{% generation %}inside {{ s }}{% endgeneration %} after
{% for m in users %}{% generation %}{{ m.name }}{% endgeneration %}{% endfor %}
{% generation %}{% set g = 1 %}{{ g }}{% endgeneration %}{{ g }}y
{% generation %}
""",
    "macro": r"""
{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(1) }}{{ m('a') }}
{% macro m(x, y=2) %}{{ x }}{{ y }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(1, y=4) }} {{ m(y=5, x=6) }}
{% macro m(x) %}[{{ x }}]{% endmacro %}{{ m() }}
{% macro m(x) %}{{ x }}{% endmacro %}{{ m(1, 2) }}
{% macro m(x) %}{{ x }}{% endmacro %}{{ m(z=2) }}
{% macro m(x, y=x) %}{{ x }}{{ y }}{% endmacro %}{{ m(1) }}
{% macro m(x=1, y) %}{% endmacro %}
{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, a=3) }}
{% macro m(a) %}{{ a }}{{ varargs }}{% endmacro %}{{ m(1, 2, 3) }}
{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}called{% endcall %}
{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) m() %}{{ a }}{{ b }}{% endcall %}
{% macro m() %}x{% endmacro %}{% call m() %}called{% endcall %}
{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}
{% macro fact(k) %}{{ 1 if k <= 1 else k * fact(k - 1)|int }}{% endmacro %}{{ fact(6) }}
{% macro walk(v) %}{% if v is mapping %}{ {%- for k, x in v|items %}{{ k }}:{{ walk(x) }};{% endfor %} }{% elif v is sequence and v is not string %}[{% for x in v %}{{ walk(x) }},{% endfor %}]{% else %}{{ v }}{% endif %}{% endmacro %}{{ walk(nested) }}
{% macro m() %}{{ q }}{% endmacro %}{% set q = 5 %}{{ m() }}
{% set q = 1 %}{% macro m() %}{% set q = 2 %}{{ q }}{% endmacro %}{{ m() }}{{ q }}
{% macro m(x) %}{% for i in x %}{{ loop.index }}{{ i }}{% endfor %}{% endmacro %}{{ m('ab') }}
{% for x in xs %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}
{% macro a() %}A{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}
{% macro m() %}  spaced  {% endmacro %}[{{ m()|trim }}]
{% macro m() %}x{% endmacro %}{{ m }}
{% macro m(a, b) %}{% endmacro %}{{ m.name }}
{% macro m(x) %}{{ x|upper }}{% endmacro %}{{ m(x='k') + '!' }}
{% macro m(x) %}{{ x }}{% endmacro %}{{ m(*[1]) }}{{ m(**{'x': 2}) }}
{% macro m(x) %}{{ raise_exception('bad ' ~ x) }}{% endmacro %}{{ m(1) }}
{% macro m %}{% endmacro %}
{% macro m(a,) %}{% endmacro %}
{% macro m() %}
{% macro m(x) %}{% if x > 0 %}{{ x }}{{ m(x - 1) }}{% endif %}{% endmacro %}{{ m(20) }}
{{ m() }}{% macro m() %}late{% endmacro %}
{% macro m(l) %}{{ l|length }}{% endmacro %}{{ m(l=xs) }}{{ m(xs) }}
{% macro outer() %}{% macro inner() %}I{% endmacro %}{{ inner() }}{% endmacro %}{{ outer() }}
{% macro m(x='d') %}{{ x }}{% endmacro %}{{ m(none) }}{{ m(missing) }}{{ m() }}
""",
    "string methods": r"""
[{{ spaces.strip() }}] [{{ spaces.lstrip() }}] [{{ spaces.rstrip() }}]
{{ 'xxaxx'.strip('x') }} {{ 'abcba'.lstrip('ab') }} {{ 'abcba'.rstrip('ab') }} {{ 'éaé'.strip('é') }}
{{ s.upper() }} {{ s.lower() }} {{ s.title() }} {{ s.capitalize() }} {{ s.swapcase() }}
{{ u.upper() }} {{ u.lower() }} {{ "they're bill's"|title }} {{ "they're bill's".title() }}
{{ 'a,b,,c'.split(',') }} {{ 'a,b,,c'.split(',', 1) }} {{ 'a,b,,c'.rsplit(',', 1) }}
{{ ' a  b c '.split() }} {{ ' a  b c '.split(none, 1) }} {{ ' a  b c '.rsplit(none, 1) }} {{ ' a  b c '.rsplit() }}
{{ 'a,b'.split(sep=',') }} {{ 'a,b,c'.split(',', maxsplit=1) }}
{{ ''.split() }} {{ ''.split(',') }} {{ 'abc'.split('abc') }}
{{ 'a'.split('') }}
{{ 'a'.split(1) }}
{{ s.startswith('Hell') }} {{ s.startswith('x') }} {{ s.endswith('ld') }} {{ s.startswith(('x', 'H')) }}
{{ s.startswith('ello', 1) }} {{ s.endswith('Hell', 0, 4) }} {{ s.startswith('', 50) }}
{{ s.startswith(1) }}
{{ s.replace('l', 'L') }} {{ s.replace('l', 'L', 1) }} {{ s.replace('', '-') }} {{ s.replace('', '-', 2) }} {{ s.replace('o', '') }}
{{ u.replace('ß', 'ss') }} {{ 'ab'.replace('', 'é', 0) }}
{{ ', '.join(['a', 'b']) }} {{ ''.join('abc') }} {{ '-'.join(d) }}
{{ ','.join([1]) }}
{{ '{} {}'.format(1, 'a') }} {{ '{1} {0}'.format(1, 2) }} {{ '{a} {b}'.format(a=1, b=2) }}
{{ '{:>5}|{:<5}|{:^5}|{:05d}|{:.2f}|{:,}'.format('a', 'b', 'c', 42, 3.14159, 1234567) }}
{{ '{0[a]} {0.b}'.format(d) }} {{ '{!r} {!s}'.format('a', 'b') }} {{ '{{}}'.format() }}
{{ '{:x} {:X} {:o} {:b} {:#x} {:e} {:g} {:%}'.format(255, 255, 8, 5, 255, 12345.678, 0.0001, 0.5) }}
{{ '{:*^9}|{:+d}|{: d}|{:=+6d}'.format('mid', 5, 5, 5) }} {{ '{:{}}|'.format('a', 4) }}
{{ '{}'.format() }}
{{ '{' .format() }}
{{ '{:d}'.format('a') }}
{{ s.find('o') }} {{ s.find('z') }} {{ s.rfind('o') }} {{ s.find('o', 5) }} {{ u.find('本') }} {{ s.find('o', -3) }}
{{ s.index('o') }} {{ s.rindex('o') }}
{{ s.index('z') }}
{{ s.count('l') }} {{ s.count('') }} {{ 'aaa'.count('aa') }} {{ s.count('l', 4) }}
{{ lines.splitlines() }} {{ lines.splitlines(true) }} {{ 'a\r\nb\rc'.splitlines() }}
{{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('=') }} {{ 'abc'.rpartition('=') }}
{{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.txt'.removesuffix('.txt') }} {{ 'x'.removeprefix('y') }}
{{ '12'.isdigit() }} {{ 'a1'.isalnum() }} {{ 'ab'.isalpha() }} {{ ' '.isspace() }} {{ 'AB'.isupper() }} {{ 'ab'.islower() }} {{ ''.isdigit() }} {{ 'é'.isalpha() }} {{ 'x y'.isalpha() }}
{{ '5'.zfill(3) }} {{ '-5'.zfill(4) }} {{ 'a'.ljust(3) }}| {{ 'a'.rjust(3, '.') }} {{ 'a'.center(4) }}| {{ 'ab'.center(5, '*') }}
{{ s.upper().lower().split('o')[0].strip() }}
{{ 'a'.upper(1) }}
{{ 'a'.nosuch() }}
{{ 'x'.join(xs|map('string')) }}
{{ (s|upper).lower() }} {{ s.split()[-1] }} {{ s.split('</think>')[-1].lstrip('\n') }}
{{ '%s is %d' % ('x', 5) }} {{ '%s' % 'x' }} {{ '%5.1f|%-5s|%05d' % (2.25, 'a', 42) }} {{ '%%' % () }} {{ '%(a)s' % {'a': 1} }}
{{ '%s %s' % ('x',) }}
{{ '%s' % ('x', 'y') }}
{{ '%d' % 'x' }}
{{ '%x %X %o %e %g %c %r' % (255, 255, 8, 1.5, 0.5, 'z', 'q') }} {{ '%s' % [1] }} {{ '%s' % none }}
{{ 'ÀÉ'.lower() }} {{ 'straße'.upper() }} {{ 'ﬁ'.upper() }} {{ 'ǆ'.title() }} {{ 'İ'.lower() }}
""",
    "containers": r"""
{{ d.keys() }} {{ {'a': 1}.values() }} {{ {'a': 1}.items() }}
{{ d.keys()|list }} {{ d.values()|list|length }} {{ d.items()|list|length }}
{{ d.keys()[0] }}x {{ d.items()|first }} {{ d.keys()|last }}
{{ 'a' in d.keys() }} {{ 1 in d.values() }} {{ ('b', 1) in d.items() }}
{{ d|length }} {{ d|list }} {{ d|first }}
{{ range(3) }} {{ range(1, 3) }} {{ range(0, 6, 2) }} {{ range(3)|list }} {{ range(3)|length }} {{ range(3)[1] }} {{ 2 in range(3) }}
{{ range(3, 0)|list }} {{ range(-1)|list }} {{ range(5, 0, -1)|list }}
{{ range(0, 5, 0) }}
{{ range() }}
{{ range('a') }}
{{ range(100000)|length }}
{{ range(100001)|length }}
{{ [[1, [2]], {'a': (1,)}] }} {{ {'k': {'l': none}} }}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}
{% set j = joiner(', ') %}{{ j() }}a{{ j() }}b{{ j() }}c
{% set j = joiner() %}{{ j() }}a{{ j() }}b
{{ {'a': 1}|tojson }} {{ (1, 2).count(1) }} {{ (1, 2).index(2) }}
""",
    "filters": r"""
{{ s|upper }} {{ s|lower }} {{ 'hello world-foo (bar)'|title }} {{ 'hELLO'|capitalize }} {{ 5|upper }}
[{{ spaces|trim }}] {{ 'xxaxx'|trim('x') }} {{ 'a,'|trim(chars=',') }} {{ 5|trim }}
{{ s|length }} {{ xs|count }} {{ d|length }} {{ u|length }}
{{ 5|length }}
{{ none|length }}
{{ s|replace('o', '0') }} {{ s|replace('o', '0', 1) }} {{ s|replace('l', 5) }} {{ 151|replace(5, 'x') }}
{{ xs|join }} {{ xs|join(', ') }} {{ users|join('|', attribute='name') }} {{ 'abc'|join('-') }} {{ [1, none, 'a']|join(d='+') }}
{{ 5|join }}
{{ xs|first }} {{ xs|last }} {{ s|first }} {{ s|last }} {{ d|last }}
{{ 'ab'|list }} {{ (1, 2)|list }} {{ 5|string }} {{ xs|string }} {{ none|string }}
{{ '42'|int }} {{ '4.7'|int }} {{ 'x'|int }} {{ 'x'|int(9) }} {{ 3.9|int }} {{ -3.9|int }} {{ '0x1f'|int(base=16) }} {{ '1f'|int(0, 16) }} {{ none|int }} {{ true|int }} {{ ' 7 '|int }} {{ '1_000'|int }} {{ '1__0'|int }}
{{ '4.5'|float }} {{ 'x'|float }} {{ 'x'|float(1.5) }} {{ 3|float }} {{ 'inf'|float }} {{ '-nan'|float }} {{ '1e5'|float }} {{ '.5'|float }} {{ '5.'|float }} {{ '0x10'|float }} {{ '1_0.5'|float }}
{{ (-5)|abs }} {{ (-5.5)|abs }} {{ neg|abs }} {{ true|abs }}
{{ 'a'|abs }}
{{ 2.5|round }} {{ 3.5|round }} {{ 42.55|round(1) }} {{ 2.675|round(2) }} {{ 42|round }} {{ 42.1|round(0, 'ceil') }} {{ 42.9|round(method='floor') }} {{ 1.15|round(1, 'floor') }} {{ 42|round(1, 'ceil') }}
{{ 1.5|round(1, 'bad') }}
{{ xs|reverse|list }} {{ s|reverse }} {{ d|reverse|list }} {{ range(3)|reverse|list }}
{{ xs|sort }} {{ xs|sort(reverse=true) }} {{ words|sort }} {{ words|sort(case_sensitive=true) }} {{ users|sort(attribute='age')|map(attribute='name')|list }} {{ users|sort(attribute='age,name')|map(attribute='name')|list }} {{ 'hello'|sort }}
{{ [1, 'a']|sort }}
{{ words|unique|list }} {{ words|unique(true)|list }} {{ users|unique(attribute='age')|map(attribute='name')|list }} {{ [1, 1.0, true, 2]|unique|list }}
{{ users|map(attribute='name')|list }} {{ users|map(attribute='tags.0')|list }} {{ users|map(attribute='tags', default='none')|list }} {{ words|map('upper')|list }} {{ words|map('replace', 'p', 'P')|join(' ') }} {{ nested.list|map('sum')|list }} {{ nested.list|map(attribute=0)|list }}
{{ xs|map|list }}
{{ xs|map('nofilter')|list }}
{{ []|map('nofilter')|list }}
{{ xs|map(foo='x')|list }}
{{ xs|select('odd')|list }} {{ xs|select('gt', 1)|list }} {{ [0, 1, '', 'a', none]|select|list }} {{ xs|reject('odd')|list }} {{ [0, 1, '']|reject|list }} {{ xs|select('in', [1, 2])|list }} {{ words|select('equalto', 'fig')|list }}
{{ users|selectattr('extra', 'defined')|map(attribute='name')|list }} {{ users|selectattr('age', 'equalto', 30)|list|length }} {{ users|rejectattr('age', '==', 30)|map(attribute='name')|first }} {{ users|selectattr('tags')|list|length }} {{ users|rejectattr('tags')|list|length }}
{{ users|selectattr('age', 'gt', 26)|map(attribute='name')|join(',') }} {{ users|selectattr('name', 'in', ['Bob'])|list }}
{{ xs|select('notest')|list }}
{{ xs|selectattr|list }}
{% if users|selectattr('age', 'equalto', 99) %}generators are true{% endif %}
{% if users|selectattr('age', 'equalto', 99)|list %}x{% else %}lists are not{% endif %}
{% set g = xs|map('string') %}{{ g|list }}{{ g|list }}
{% set g = xs|map('string') %}{{ g|first }}{{ g|first }}{{ g|list }}
{% set g = xs|select('odd') %}{{ 3 in g }}{{ 1 in g }}{{ 3 in g }}
{{ xs|map('string')|length }}
{{ (xs|map('string'))[0] }}x
{{ xs|select('odd')|last }}
{{ (xs|select) is iterable }} {{ (xs|select) is sequence }} {{ (xs|select) is mapping }}
{{ d|items|list|length }} {{ missing|items|list }}
{{ 5|items|list }}
{{ {'b': 1, 'A': 2, 'c': 0}|dictsort }} {{ {'b': 1, 'A': 2}|dictsort(true) }} {{ {'b': 1, 'A': 2}|dictsort(by='value') }} {{ {'b': 1, 'A': 2}|dictsort(reverse=true) }} {{ {'b': 1, 'A': 2}|dictsort(false, 'value', true) }}
{{ {'b': 1}|dictsort(by='x') }}
{{ xs|min }} {{ xs|max }} {{ words|min }} {{ words|max }} {{ users|max(attribute='age') }} {{ users|min(attribute='age') }} {{ []|min }}x {{ words|min(case_sensitive=true) }}
{{ xs|sum }} {{ users|sum(attribute='age') }} {{ [1.5, 2]|sum }} {{ []|sum }} {{ xs|sum(start=10) }} {{ [[1], [2]]|sum(start=[]) }}
{{ ['a']|sum }}
{{ html|e }} {{ html|escape }} {{ html|safe }} {{ 5|e }} {{ html|forceescape }}
{{ lines|indent }} {{ lines|indent(2) }} {{ lines|indent(2, true) }} {{ lines|indent(2, blank=true) }} {{ lines|indent('> ') }} {{ lines|indent(width=1, first=true) }}
{{ 5|indent }}
{{ [1, 2, 3, 4, 5]|batch(2)|list }} {{ [1, 2, 3]|batch(2, 'x')|list }}
{{ 'one two, three-four'|wordcount }} {{ 'Hello there world'|truncate(9) }} {{ 'Hello there world'|truncate(9, true, leeway=0) }} {{ 'short'|truncate(10) }} {{ 'Hello there world'|truncate(11, false, '..', 0) }}
{{ '%s and %s'|format('a', 'b') }} {{ '%(x)s'|format(x=1) }} {{ '%d'|format(3.7) }}
{{ 'ab'|center(6) }}| {{ d|attr('get') is callable }} {{ d|attr('b') }}x
{{ s|upper|lower|title }} {{ xs|sort|first }} {{ (s|upper)[0] }} {{ s|length > 5 }} {{ xs|length + 1 }} {{ -xs|length }}
{{ s|upper() }} {{ s|default('x')|upper }} {{ 'a' ~ s|upper }} {{ 'x' if s|length > 3 else 'y' }}
{{ s|replace() }}
{{ s|upper(1) }}
{{ s|default(nope=1) }}
{{ d|attr }}
{{ xs|join(',', 'x', 'y') }}
{{ words|sort|join(',')|upper|replace('APPLE', 'X') }}
{{ xs|list|reverse|first }} {{ (1, 2)|reverse|list }}
{{ [3, 1]|sort(reverse=1)|string + '!' }} {{ [[2, 'b'], [1, 'a']]|sort }} {{ [('b', 1), ('a', 2)]|sort(attribute=0) }} {{ [(1, 'b'), (2, 'a')]|sort(attribute='1') }}
""",
    "tojson": r"""
{{ d|tojson }}
{{ users|tojson }}
{{ d|tojson(indent=2) }}
{{ d|tojson(indent=4) }}
{{ d|tojson(indent=0) }}
{{ d|tojson(indent='--') }}
{{ d|tojson(sort_keys=true) }}
{{ d|tojson(separators=(',', ':')) }}
{{ d|tojson(separators=';=') }}
{{ d|tojson(indent=2, separators=(';', '=')) }}
{{ u|tojson }} {{ u|tojson(ensure_ascii=true) }} {{ html|tojson }}
{{ '\x00\x1f\x7f"\\/\b\f\n\r\t'|tojson }} {{ '\x7f\u2028'|tojson(true) }}
{{ [1, 2.0, 0.1, 1e20, true, false, none]|tojson }} {{ floats|tojson }}
{{ (1, 2)|tojson }} {{ []|tojson }} {{ {}|tojson }} {{ [[], {}]|tojson(indent=2) }}
{{ {1: 'a', true: 'b', none: 'c', 2.5: 'd'}|tojson }}
{{ {(1, 2): 'a'}|tojson }}
{{ range(3)|tojson }}
{{ d.keys()|tojson }}
{{ xs|map('string')|tojson }}
{{ ('inf'|float)|tojson }} {{ ('nan'|float)|tojson }}
{{ s|tojson }} {{ 5|tojson }} {{ none|tojson }}
{{ {'b': 1, 'a': {'d': 1, 'c': 2}}|tojson(sort_keys=True, indent=1) }}
{{ {1: 2, 'a': 3}|tojson(sort_keys=true) }}
{{ namespace(a=1)|tojson }}
{{ d|tojson|length }} {{ d|tojson|safe }} {{ (d|tojson) ~ 'x' }}
{{ d | tojson(indent=none) }}
""",
    "tests": r"""
{{ 1 is number }} {{ 1.5 is number }} {{ true is number }} {{ '1' is number }}
{{ 1 is integer }} {{ true is integer }} {{ 1.0 is integer }} {{ 1.0 is float }} {{ 1 is float }}
{{ s is string }} {{ 1 is string }} {{ t is boolean }} {{ 1 is boolean }} {{ t is true }} {{ 1 is true }} {{ z is false }} {{ false is false }}
{{ d is mapping }} {{ xs is mapping }} {{ xs is sequence }} {{ s is sequence }} {{ d is sequence }} {{ 1 is sequence }} {{ range(3) is sequence }} {{ d.keys() is sequence }}
{{ xs is iterable }} {{ s is iterable }} {{ 1 is iterable }} {{ none is iterable }}
{{ range is callable }} {{ s is callable }} {{ s.upper is callable }} {{ raise_exception is callable }}
{{ 3 is odd }} {{ 3 is even }} {{ -3 is odd }} {{ 6 is divisibleby 3 }} {{ 6 is divisibleby(4) }} {{ 2.0 is even }}
{{ 'a' is odd }}
{{ 1 is eq 1 }} {{ 1 is equalto(1) }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 1 is le 1 }} {{ 1 is gt 0 }} {{ 1 is ge 2 }} {{ 1 is lessthan 2 }} {{ 1 is greaterthan 2 }} {{ 1 is sameas 1 }}
{{ 'a' is in 'abc' }} {{ 1 is in xs }} {{ 9 is not in xs }} {{ 1 is not none }} {{ none is none }} {{ z is not none }}
{{ 'abc' is lower }} {{ 'ABC' is upper }} {{ 'Abc' is lower }} {{ '' is lower }}
{{ 'upper' is filter }} {{ 'nope' is filter }} {{ 'odd' is test }} {{ 'nope' is test }}
{{ s is string and n is number }} {{ not s is string }} {{ s is not string }} {{ 'x' if s is string else 'y' }}
{{ s is defined and s == 'Hello World' }} {{ s is string is true }}
{{ 1 is lt 'a' }}
{{ 5 is divisibleby 0 }}
{{ xs is sameas xs }} {{ [1] is sameas [1] }} {{ s is eq('Hello World') }}
{{ users[0].tags is defined }} {{ users[2].tags is defined }} {{ users[2].extra is none }}
{{ s is defined or missing.x }}
""",
    "calls": r"""
{{ raise_exception('no') }}
{% if z %}{{ raise_exception('no') }}{% endif %}fine
{{ raise_exception() }}
{{ strftime_now('%%') }}x{{ strftime_now('') }}y {{ strftime_now('é') }}
{{ strftime_now() }}
{{ nofunction() }}
{{ d.get() }}
{{ d.get('a', 1, 2) }}
{{ dict(1) }}
{{ namespace(1) }}
{{ namespace(missing) }}
{{ s.split(' ', 1, 2) }}
{{ '-'.join(*[['a', 'b']]) }} {{ dict(**{'a': 1}) }}
{{ range(*[1, 4])|list }} {{ '{a}'.format(**{'a': 5}) }}
{{ s.upper()() }}
{{ f(a=1, 2) }}
{{ f(1 2) }}
{{ s.replace('l', 'L',) }}
""",
}

LAYOUTS = [
    "{% if t %}\nx\n{% endif %}\ny\n",
    "  {% if t %}\n  x\n  {% endif %}\n  y",
    "a  {% if t %}\n  x\n  {% endif %}\n",
    "\t{% for x in xs %}\n\t{{ x }}\n\t{% endfor %}\nend\n",
    "  {%+ if t %}\n  x{% endif +%}\n y",
    "  {# comment #}\n  x\n",
    "  {# comment -#}\n\n  x\n",
    "  {#+ comment +#}\n  x\n",
    "a\n\n\n{%- if t -%}\n\n  b  \n\n{%- endif -%}\n\nc",
    "{% set x = 1 %}\n\n{{ x }}\n\n",
    "{{ s }}\n{{ s }}\n",
    "{{ s }}\n\n",
    "line\r\n{% if t %}\r\nx\r\n{% endif %}\r\n",
    "a\rb{{ s }}\r",
    "  {{ s }}  \n  {{- s }}",
    "{% if t %}{% endif %}\n{% if t %}{% endif %}\n\n",
    "   {% if t %}   {% if t %}x{% endif %}   {% endif %}   ",
    "\n\n  {% raw %}\n  {{ x }}\n  {% endraw %}\n  z",
    "{% raw %}\nx{% endraw %}\ny",
    "{% for x in xs -%}\n  {{ x }}\n{%- endfor %}",
    "{{ 'a\nb' }}",
    "{{ {'a':\n 1}\n}}",
    "{%\nif t\n%}x{%\nendif\n%}",
    "{%- if t %}\n    {{- 'x' }}\n{%- else %}\n    {{- 'y' }}\n{%- endif %}\n",
    "x {%- set y = 1 %} z",
    "x {% set y = 1 -%}  \n z",
    "{{ s -}}\n  \n{{- s }}",
    "\u00a0{%- if t %}x{% endif %}",
    "\u2003{{- s }}",
    "{#- a -#}\n{#- b -#}\nx",
    "",
    "\n",
    "\n\n",
    "{{ '''x''' }}",
    "{% if t %}\n\n\nx{% endif %}",
    "{{ s}}{{s }}{{  s  }}",
    "{%if t%}x{%endif%}",
    "{%-if t-%} x {%-endif-%}",
    "}}{{ s }}{",
    "{{ '%}' }}{% if '}}' %}x{% endif %}",
    "{{ [1,2][0] }}{{ {'a': {'b': 1}}['a']['b'] }}",
    "{{ {'a': {'b': 1}} }}",
]

CHAT_TEMPLATES = {
    "SmolLM2": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "ChatML": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "Llama-2": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "Zephyr": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    "Gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}",
    "Phi-3": "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
    "Mistral": r"""{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}

{#- This block checks for alternating user/assistant messages, skipping tool calling messages #}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, conversation roles must alternate user/assistant/user/assistant/...") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- else %}
                    {{- "]" }}
                {%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
            {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}
                {{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}
            {%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' }}
            {%- if not loop.last %}
                {{- ", " }}
            {%- else %}
                {{- "]" + eos_token }}
            {%- endif %}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- elif message["role"] == "tool_results" or message["role"] == "tool" %}
        {%- if message.content is defined and message.content.content is defined %}
            {%- set content = message.content.content %}
        {%- else %}
            {%- set content = message.content %}
        {%- endif %}
        {{- '[TOOL_RESULTS] {"content": ' + content|string + ", " }}
        {%- if not message.tool_call_id is defined or message.tool_call_id|length != 9 %}
            {{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}
        {%- endif %}
        {{- '"call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial optional system message!") }}
    {%- endif %}
{%- endfor %}
""",
    "Llama-3.1": r"""{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- This block extracts the system message, so we can slot it into the right place. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{#- System message + builtin tools #}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if builtin_tools is defined or tools is not none %}
    {{- "Environment: ipython\n" }}
{%- endif %}
{%- if builtin_tools is defined %}
    {{- "Tools: " + builtin_tools | reject('equalto', 'code_interpreter') | join(", ") + "\n\n"}}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\n" }}
{{- "Today Date: " + date_string + "\n\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {{- "You have access to the following functions. To call a function, please respond with JSON for a function call." }}
    {{- 'Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.' }}
    {{- "Do not use variables.\n\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\n\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}

{#- Custom tools are passed in a user message with some extra guidance #}
{%- if tools_in_user_message and not tools is none %}
    {#- Extract the first user message so we can plug it in here #}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("Cannot put tools in the first user message when there's no first user message!") }}
{%- endif %}
    {{- '<|start_header_id|>user<|end_header_id|>\n\n' -}}
    {{- "Given the following functions, please respond with a JSON for a function call " }}
    {{- "with its proper arguments that best answers the given prompt.\n\n" }}
    {{- 'Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.' }}
    {{- "Do not use variables.\n\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\n\n" }}
    {%- endfor %}
    {{- first_user_message + "<|eot_id|>"}}
{%- endif %}

{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {%- if builtin_tools is defined and tool_call.name in builtin_tools %}
            {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}
            {{- "<|python_tag|>" + tool_call.name + ".call(" }}
            {%- for arg_name, arg_val in tool_call.arguments | items %}
                {{- arg_name + '="' + arg_val + '"' }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- endif %}
                {%- endfor %}
            {{- ")" }}
        {%- else  %}
            {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}
            {{- '{"name": "' + tool_call.name + '", ' }}
            {{- '"parameters": ' }}
            {{- tool_call.arguments | tojson }}
            {{- "}" }}
        {%- endif %}
        {%- if builtin_tools is defined %}
            {#- This means we're in ipython mode #}
            {{- "<|eom_id|>" }}
        {%- else %}
            {{- "<|eot_id|>" }}
        {%- endif %}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\n\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
""",
    "Qwen2.5": r"""{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.' }}
    {%- endif %}
    {{- "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\n<tool_call>\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' }}
        {{- message.content }}
        {{- '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
""",
    "Qwen3": r"""{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\n\n' }}
    {%- endif %}
    {{- "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n" }}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}
                    {{- '\n' }}
                {%- endif %}
                {%- if tool_call.function %}
                    {%- set tool_call = tool_call.function %}
                {%- endif %}
                {{- '<tool_call>\n{"name": "' }}
                {{- tool_call.name }}
                {{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}
                    {{- tool_call.arguments }}
                {%- else %}
                    {{- tool_call.arguments | tojson }}
                {%- endif %}
                {{- '}\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' }}
        {{- content }}
        {{- '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}
""",
    "DeepSeek-R1": r"""{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<｜User｜>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is none %}{%- set ns.is_tool = false -%}{%- for tool in message['tool_calls']%}{%- if not ns.is_first %}{{'<｜Assistant｜><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' + tool['type'] + '<｜tool▁sep｜>' + tool['function']['name'] + '\n' + '```json' + '\n' + tool['function']['arguments']|tojson + '\n' + '```' + '<｜tool▁call▁end｜>'}}{%- set ns.is_first = true -%}{%- else %}{{'\n' + '<｜tool▁call▁begin｜>' + tool['type'] + '<｜tool▁sep｜>' + tool['function']['name'] + '\n' + '```json' + '\n' + tool['function']['arguments']|tojson + '\n' + '```' + '<｜tool▁call▁end｜>'}}{{'<｜tool▁calls▁end｜><｜end▁of▁sentence｜>'}}{%- endif %}{%- endfor %}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is not none %}{%- if ns.is_tool %}{{'<｜tool▁outputs▁end｜>' + message['content'] + '<｜end▁of▁sentence｜>'}}{%- set ns.is_tool = false -%}{%- else %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}{%- endif %}{%- endif %}{%- if message['role'] == 'tool' %}{%- set ns.is_tool = true -%}{%- if ns.is_output_first %}{{'<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>' + message['content'] + '<｜tool▁output▁end｜>'}}{%- set ns.is_output_first = false %}{%- else %}{{'\n<｜tool▁output▁begin｜>' + message['content'] + '<｜tool▁output▁end｜>'}}{%- endif %}{%- endif %}{%- endfor -%}{% if ns.is_tool %}{{'<｜tool▁outputs▁end｜>'}}{% endif %}{% if add_generation_prompt and not ns.is_tool %}{{'<｜Assistant｜><think>\n'}}{% endif %}""",
}

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather at a place, in °C",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {"type": "string", "enum": ["Zürich", "東京"]},
                    "days": {"type": "integer", "default": 1},
                },
                "required": ["place"],
            },
        },
    },
    {"type": "function", "function": {"name": "now", "parameters": {}, "return": {"type": "string"}}},
]

CALL = {
    "id": "call12345",
    "type": "function",
    "function": {"name": "get_weather", "arguments": {"place": "Zürich", "days": 2}},
}

USER = {"role": "user", "content": "  What's the weather in Zürich? <b>&</b> \"now\"\n"}

CONVERSATIONS = {
    "one turn": {"messages": [USER]},
    "system": {"messages": [{"role": "system", "content": "Be brief."}, USER]},
    "two turns": {
        "messages": [USER, {"role": "assistant", "content": " Sunny 🌞 "}, {"role": "user", "content": "Danke!"}]
    },
    "thinking": {
        "messages": [
            USER,
            {"role": "assistant", "content": "<think>\nhm\n</think>\n\nSunny"},
            {"role": "user", "content": "and tomorrow?"},
        ],
        "enable_thinking": False,
    },
    "ends with assistant": {"messages": [USER, {"role": "assistant", "content": "<think>a</think>b"}]},
    "tools": {"messages": [{"role": "system", "content": "Use tools."}, USER], "tools": TOOLS},
    "tools above": {"messages": [USER], "tools": TOOLS, "tools_in_user_message": False},
    "builtin tools": {
        "messages": [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}],
        "builtin_tools": ["code_interpreter", "brave_search"],
    },
    "tool call": {
        "messages": [
            USER,
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call12345", "content": "{\"t\": 21}"},
            {"role": "assistant", "content": "21 °C"},
            {"role": "user", "content": "thanks"},
        ],
        "tools": TOOLS,
    },
    "two tool results": {
        "messages": [
            USER,
            {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]},
            {"role": "tool", "tool_call_id": "call12345", "content": "1"},
            {"role": "tool", "tool_call_id": "call12345", "content": "2"},
        ],
        "tools": TOOLS,
    },
    "reasoning field": {
        "messages": [USER, {"role": "assistant", "content": "x", "reasoning_content": "\nwhy\n"}]
    },
    "wrong order": {"messages": [{"role": "assistant", "content": "first"}, USER]},
    "empty": {"messages": []},
    "no content": {"messages": [{"role": "user"}]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
}


def all_cases():
    cases = []
    for topic, lines in SNIPPETS.items():
        for line in lines.strip("\n").split("\n"):
            cases.append({"name": f"{topic}: {line}", "template": line, "variables": DATA})
    for source in LAYOUTS:
        cases.append({"name": f"layout: {source!r}", "template": source, "variables": DATA})
    for model, source in CHAT_TEMPLATES.items():
        for title, variables in CONVERSATIONS.items():
            for add_generation_prompt in (False, True):
                cases.append(
                    {
                        "name": f"{model}: {title}" + (", prompted" if add_generation_prompt else ""),
                        "template": source,
                        "variables": {**variables, "add_generation_prompt": add_generation_prompt},
                    }
                )
    return cases
