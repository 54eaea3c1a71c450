// Photos that speak for and against a link: unilabelEvidence(answer) -> node. The form of answer is
// that of LinkEvidence.of_link.
function unilabelEvidence(answer) {
  "use strict";
  const { make } = unilabelDom;
  const group = (title, crops, kind) => make("div", { class: `ul-evidence ul-${kind}` },
    make("h5", {}, title),
    make("div", { class: "ul-crops" }, ...crops.map((crop) => make("figure", {},
      make("img", { src: crop.image, alt: `${crop.title}: ${crop.text}`, title: crop.title }),
      make("figcaption", {}, crop.text)))),
    crops.length ? null : make("p", { class: "ul-quiet" }, "No region of some size."));
  const parts = answer.facts.map((text) => make("p", {}, text));
  if (answer.agree.length || answer.differ.length || answer.facts.length) {
    parts.push(make("div", { class: "ul-sides" }, group("Both agree", answer.agree, "agree"),
      group("They do not agree", answer.differ, "differ")));
  }
  return make("div", { class: "ul-proof" }, ...parts,
    make("p", { class: "ul-quiet" }, answer.status + "."));
}
