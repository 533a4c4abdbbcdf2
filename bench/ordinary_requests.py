"""Ordinary requests of one user, by name, for what depends on the text: what a model repeats, and what
it does not. Fixed, so that figures of two versions are of the same work."""

TEXT = """\
The lighthouse at Skerry Point was built in 1841, after three ships had been lost on the reef in a \
single winter. Its tower is thirty-eight metres high and was cut from grey granite that was brought \
by sea from a quarry forty miles away. For the first sixty years the lamp burned whale oil, later \
paraffin; electric light came only in 1934. Three keepers lived there with their families, and took \
turns of four hours each through the night. The last of them, Margaret Innes, left the station in \
1987, when the light was made automatic. "I did not miss the stairs," she said to a newspaper, "but \
I missed the sound of the sea under the kitchen window." Today the tower belongs to a trust, which \
opens it to visitors from May to September and uses the entrance fees to keep the roof dry."""

CODE = """\
class Inventory:
    def __init__(self):
        self.items = {}

    def add(self, name, count, price):
        if count <= 0:
            raise ValueError("count must be positive")
        old_count, _ = self.items.get(name, (0, price))
        self.items[name] = (old_count + count, price)

    def remove(self, name, count):
        old_count, price = self.items[name]
        if count > old_count:
            raise ValueError("not enough items")
        self.items[name] = (old_count - count, price)

    def total(self):
        return sum(count * price for count, price in self.items.values())
"""

REQUESTS = {
    "short question": "Which river runs through Paris, and into which sea does it flow?",
    "explanation": "Explain to a child of ten why the sky is blue.",
    "story": "Tell a story about a fox who wants to learn to swim, in five sentences.",
    "comparison": "Compare trains and planes for a trip of 500 kilometres. Which one would you take, "
                  "and why?",
    "list of tips": "Give me ten tips for sleeping better, as a numbered list.",
    "table": "Make a Markdown table of the planets of the solar system, with the columns Planet, "
             "Diameter, Moons and Distance from the Sun.",
    "JSON list": "Write a JSON list of eight books. Every book is an object with the keys title, "
                 "author, year and genre. Answer with JSON only.",
    "summary of a text": f"Summarize this text in three sentences:\n\n{TEXT}",
    "question about a text": "How long did the lamp burn whale oil, and what did Margaret Innes say? "
                             f"Quote the sentences that say so.\n\n{TEXT}",
    "exact quotation": f"Repeat this text exactly, word for word:\n\n{TEXT}",
    "docstrings for code": f"Add a docstring to every method of this class:\n\n```python\n{CODE}```",
    "renaming in code": "Rename `count` to `quantity` everywhere in this class and print the whole "
                        f"class:\n\n```python\n{CODE}```",
}
# Asked several at once: of every kind some.
MIXED = ("comparison", "list of tips", "table", "JSON list", "summary of a text", "exact quotation",
         "docstrings for code", "question about a text")
