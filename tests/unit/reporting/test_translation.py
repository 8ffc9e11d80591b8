"""A report in French: what the catalogue knows is French to the last space, and what it does not know is counted and left alone."""

import re
from datetime import UTC, datetime

import pandas as pd
import pytest

from components.data_analysis.report import audit_sentence
from components.production_monitoring.dashboard import volume_sentence
from driftloop.errors import InputError
from driftloop.next_steps import steps_after_watch
from driftloop.reporting.chapter import Chapter, Figure, Section, Table, Text
from driftloop.reporting.document import document_html
from driftloop.reporting.layout import Document, Part
from driftloop.reporting.translation import HOLE, LANGUAGES, Translator, _catalogue, translate
from driftloop.reporting.wording import confusion_sentence

FOREIGN = [lang for lang in LANGUAGES if lang != "en"]


@pytest.mark.parametrize("lang", FOREIGN)
def test_an_entry_says_all_that_its_english_says(lang: str) -> None:
    exact, templates = _catalogue(lang)
    assert not [english for english, said in exact.items() if HOLE.search(said) or not said.strip()]
    # One that said nothing itself would take any sentence for its own.
    assert not [
        pattern.pattern for pattern, holes, said in templates if any(holes.values()) and len(re.findall("[A-Za-z]", HOLE.sub("", said))) < 1
    ]
    assert not [said for _, holes, said in templates if {name for _, name in HOLE.findall(said)} != holes.keys()]


@pytest.mark.parametrize(
    ("english", "french"),
    [
        ("1,234.5", "1\u202f234,5"),
        ("87.3 %", "87,3\u202f%"),
        ("85.2 to 89.1 %", "85,2 à 89,1\u202f%"),
        ("6.2x", "6,2\u202f×"),
        ("0.911 (0.898-0.927)", "0,911 (0,898-0,927)"),
        ("0.911 (0.898-0.927, n=1500 of 20 groups)", "0,911 (0,898-0,927, n=1500, de 20 groupes)"),
        ("1,200 images of 1 group", "1\u202f200 images, de 1 groupe"),
        ("3 of 4", "3 sur 4"),
        ("2.17.0", "2.17.0"),
        ("model.int8.onnx", "model.int8.onnx"),
        ("[[costs]]: The recall is the same everywhere: 1.25.", "[[costs]]\u00a0: Le rappel a la même valeur partout\u00a0: 1,25."),
        ("Run: `a: 1.5 %`.", "Exécuter\u00a0: `a: 1.5 %`."),
        ("site=B", "site=B"),
    ],
)
def test_numbers_spaces_and_names(english: str, french: str) -> None:
    translator = Translator("fr")
    assert translator(english) == french
    assert translator.missing == []


def test_a_name_takes_no_english_behind_the_end_of_its_sentence() -> None:
    translator = Translator("fr")
    said = translator(
        "9 of 25 epochs with OneCycle in bfloat16. Epoch 5 was kept: the highest balanced accuracy on the validation split (45 images), "
        "which therefore reads a little too high. Trained on: CPU, 1 of 2 cores, 176 images per second."
    )
    assert "L'époque 5 a été gardée" in said
    assert said.endswith("1 cœur sur 2, 176 images par seconde.")
    assert translator("FP32 is served; INT8: +0.00 points against FP32 on 90 held-out images, 95 % lower bound -2.92, not above -1") == (
        "FP32 est servi\u202f; INT8\u00a0: +0,00 points par rapport à FP32 sur 90 images mises à part, borne inférieure à 95\u202f% -2,92, "
        "pas au-dessus de -1"
    )
    assert "sur 90 images de 12 groupes mises à part" in translator(
        "FP32 is served; INT8: +0.00 points against FP32 on 90 held-out images of 12 groups, 95 % lower bound -2.92, not above -1"
    )
    assert translator("9 of 25 epochs in bfloat16. Nobody has said this.").endswith(" Nobody has said this.")
    assert translator.missing == ["Nobody has said this."]


def test_statistics_that_tell_classes_apart_are_named_in_the_language() -> None:
    assert Translator("fr")("classes differ already in noise (4.9 SD), sharpness (1.6 SD)") == (
        "les classes diffèrent déjà par bruit (4,9 écarts types), netteté (1,6 écarts types)"
    )


def test_words_in_a_hole_need_an_entry_of_their_own_and_names_of_the_run_none() -> None:
    sentence = "The accuracy is highest for {} (0.9) and lowest for cat (0.8)."
    translator = Translator("fr", frozenset({"dog", "cat"}))
    assert translator("Not gone through: gate, 7 retraining.") == "Étapes non parcourues\u00a0: porte, 7 réentraînement."
    assert translator("The accuracy is highest for dog (0.9) and lowest for cat (0.8).").startswith("L'exactitude est au plus haut pour")
    assert translator(sentence.format("a stranger")) == sentence.format("a stranger")
    assert translator.missing == [sentence.format("a stranger")]


def test_a_phrase_is_found_in_either_case_of_its_first_letter() -> None:
    translator = Translator("fr")
    assert translator("Recent hold-out") == "Réserve récente"
    assert translator("recent hold-out") == "réserve récente"
    said = translator("Look into it: the calendar asks for a retraining every 30 days; the budget of 2 retrainings in 30 days is spent.")
    assert said.startswith("À examiner\u00a0: le calendrier demande un réentraînement tous les 30 jours\u202f; le budget de 2")
    assert translator.missing == []


def test_the_name_of_an_image_file_is_no_phrase_though_it_holds_spaces() -> None:
    translator = Translator("fr")
    assert translator("Bild 6-0045.jpg") == "Bild 6-0045.jpg"
    assert translator.missing == []
    translator("Files are broken: one.jpg, and another.jpg")
    assert translator.missing, "a sentence is one, whatever it ends with"


def test_the_reasons_of_a_decision_are_said_one_by_one_however_many_there_are() -> None:
    translator = Translator("fr", frozenset({"NORMAL"}))
    reasons = [
        "clean test: -6.3 pt, at best -4.8 pt, where more than -2.0 pt is asked for",
        "class NORMAL: shown worse, -6.7 pt on 300 images (p = 2.7e-05 after Holm)",
        "drifted hold-out: +7.5 pt on 40 labelled images leaves -7.4 pt possible, where more than 0 pt is asked for; about 7 would decide",
    ]
    for several in (reasons[:1], reasons[:2], reasons):
        said = translator(f"reject: {'; '.join(several)}.")
        assert said.startswith("reject\u00a0: test propre\u00a0: -6,3 pt")
        assert said.count("\u202f; classe NORMAL\u00a0: dégradation établie") == (len(several) > 1)
    assert translator.missing == []


def test_several_criteria_that_are_open_are_said_one_by_one() -> None:
    translator = Translator("fr")
    reasons = [
        "clean test: +0.2 pt on 455 labelled images leaves -37.9 pt possible, where more than -2.0 pt is asked for; "
        "about 19,696 would decide, of about 433 groups (now 10)",
        "drifted hold-out: +7.5 pt on 40 labelled images leaves -7.4 pt possible, where more than 0 pt is asked for; about 7 would decide",
        "Brier score: +0.0029 on 455 labelled images leaves +0.3086 possible, where less than +0.0100 is asked for; "
        "no number of labels would decide",
    ]
    for several in (reasons[:1], reasons[:2], reasons):
        assert translator(f"inconclusive: {'; '.join(several)}.").count("images étiquetées laisse") == len(several)
    wanted = translator("Labelled images that would: 19,696 of about 433 groups for clean test, 7 for drifted hold-out.")
    assert wanted.endswith("19\u202f696 d'environ 433 groupes pour test propre, 7 pour réserve dérivée.")
    assert translator.missing == []


def test_what_a_decision_cannot_exclude_is_said_in_french_with_a_number_of_images_that_would_tell_and_without() -> None:
    translator = Translator("fr", frozenset({"shirt", "coat"}))
    shirt, coat = "class shirt between -12.6 and +2.2 pt (n = 34)", "class coat between -9.5 and +0.8 pt (n = 100, about 363 would tell)"
    for classes in (f"{shirt}, {coat}", f"{coat}, {shirt}", shirt):
        assert "(n = 34)" in translator(f"not excluded, for lack of images: {classes}")
    assert translator.missing == []


def test_a_class_that_is_not_recognised_is_said_in_french_beside_another_reason_too() -> None:
    translator = Translator("fr", frozenset({"Wintermäntel lang"}))
    blind = (
        "every class recognised: not recognised: 'Wintermäntel lang' (3.2 % of 63 test images right); try larger images (data_image_size), "
    )
    blind += "images cropped to what matters, a pretrained backbone (train_config.architecture) or more labels of it, or let it pass with "
    blind += "gate_config.allow_blind_classes"
    worse = "better than the commonest class: accuracy 37.0 % (at best 44.1 %), while always naming the commonest class gives 46.7 %"
    for said in (blind, f"{worse}; {blind}", f"reject: {worse}; {blind}", f"The gate's decision is reject: {worse}; {blind}."):
        translator(said)
    assert translator.missing == []


def test_a_reason_that_names_its_kind_of_images_is_said_in_french() -> None:
    translator = Translator("fr", frozenset({"NORMAL"}))
    said = translator(
        "reject: critical class NORMAL (drifted hold-out): -82.5 pt, at best -70.0 pt, where more than -5.0 pt is asked for; "
        "site=B (accepted drift): shown worse, -6.7 pt on 300 images (p = 2.7e-05 after Holm)."
    )
    assert "classe critique NORMAL (réserve dérivée)" in said
    assert "site=B (dérive acceptée)" in said
    said = translator(
        "inconclusive: critical class NORMAL (recent hold-out): the recent hold-out has no image of it; "
        "traffic as it is now +12.0 pt, but more than 5 points are shown lost: class NORMAL (new drift), site=B (clean)."
    )
    assert "la réserve récente n'en a aucune image" in said
    assert said.endswith("est établie\u00a0: classe NORMAL (nouvelle dérive), site=B (propres).")
    assert translator.missing == []


def report(*blocks: Section | Text | Table | Figure) -> Document:
    return Document(
        "Training report", "Verdict: stable.", {"run": "r1"}, "2026-01-02", [Part(Chapter(title="Lessons", blocks=list(blocks)), "1", "c")]
    )


def test_a_figure_is_translated_inside_too() -> None:
    drawing = Figure(svg='<svg><text x="1">accuracy, %</text><path d="M0"/></svg>', caption="The loop.")
    made, missing = translate(report(drawing), "fr")
    assert missing == []
    html = document_html(made)
    assert '<text x="1">exactitude,\u202f%</text>' in html
    assert '<html lang="fr">' in html
    assert "Sommaire" in html


def test_one_unknown_sentence_is_said_and_most_of_them_leave_the_chapter_english() -> None:
    known, unknown = Text(text="Drift is not harm. Drift is common, harm is not."), Text(text="Nobody has translated this.")
    made, missing = translate(report(known, unknown), "fr")
    assert missing == ["Nobody has translated this."]
    html = document_html(made)
    assert "1 phrase, titre ou cellule de ce chapitre n&#39;a pas encore" in html
    assert "La dérive n&#39;est pas un dommage." in html
    made, missing = translate(report(Section(heading="Method"), *[unknown] * 5), "fr")
    assert len(missing) == 5
    html = document_html(made)
    assert '<section id="c" lang="en">' in html
    assert "Leçons" in html
    assert "Method" in html


def test_a_language_without_a_catalogue_is_refused() -> None:
    with pytest.raises(InputError, match="lang: 'de' is not one of en, fr"):
        translate(report(), "de")


@pytest.mark.parametrize(
    "said",
    [
        "alert: The images look as accepted, but what they mean has changed (concept drift): on 134 random labels accuracy fell by 16.8 "
        "points, at least 5.1 points; a candidate that learned it was rejected, and the next would be where the labels of the test split "
        "are those of before: look at them, label them anew, and train on that dataset.",
        "reject: clean test: -12.0 pt, at best -10.0 pt, where more than -2.0 pt is asked for; the images look as before and mean "
        "something else now (concept drift): by labels of before whoever learns that is worse; if those of the test split are, label "
        "it anew and train on that dataset.",
        *steps_after_watch("alert", "store", None, concept=True),
        "stable: All 4 windows fit what the champion was accepted for.",
        "stable: 1 of 1 window drifted, not confirmed by 2 of 3; single alarms are expected by chance.",
        "needs_labels: Drift is confirmed; 63 of at least 100 random labels are there (37 more are kept for the gate) to tell whether it "
        "matters.",
        "alert: Drift is confirmed but harmless: on 184 random labels accuracy fell by -7.0 points, at most -2.4 points (bound of harm: "
        "5.0 points).",
        "retrain: The images look as accepted, but what they mean has changed (concept drift): on 134 random labels accuracy fell "
        "by 23.2 points, at least 10.3 points.",
        "The images have changed (they are noisier and busier), and nobody knows yet whether the model still gets them right: label the "
        "images on the list, so that we know whether it matters.",
        "Bring the answers in: `driftloop labels import labels.csv --store s3://driftloop/demo`. A part of them counts, too.",
        "Nothing: the next watch (`driftloop run drift-watch --store runs/store`) begins where this one ended.",
        "watch 1 (retrain) was not finished: out of memory",
    ],
)
def test_what_a_watch_says_day_by_day_is_said_in_french(said: str) -> None:
    translator = Translator("fr")
    assert translator(said) != said
    assert translator.missing == []


@pytest.mark.parametrize(
    ("english", "french"),
    [
        ("CPU, 1 of 2 cores", "processeur, 1 cœur sur 2"),
        ("Trained on: CPU, 1 of 1 core, 1,234 images per second.", ": processeur, 1 cœur sur 1, "),
        ("1 of 6 epochs with OneCycle in bfloat16.", "1 époque sur 6 avec OneCycle en bfloat16."),
        ("1 of 1 epoch in float32.", "1 époque sur 1 en float32."),
        ("without it +1.0 points on the validation split (-0.5 to +2.5 points), 1 epoch", ", 1 époque"),
        (confusion_sentence([[74, 1], [0, 75]], ["a", "b"]), "1 image sur 150 est mal classée."),
        (confusion_sentence([[74, 1], [0, 75]], ["a", "b"]), ": 1 image, "),
        (audit_sentence(1, 1, 0), "1 image a été écartée parce que sa présence"),
        (audit_sentence(1, 1, 0), "1 fichier est illisible"),
        ("1 file could not be read and was left out; it is listed below.", "1 fichier n'a pas pu être lu"),
        ("1 image was in two splits; it stays on the side that judges.", "elle reste du côté qui juge"),
        (volume_sentence(pd.DataFrame({"time": [datetime.now(UTC)], "status": ["ok"]})), "1 requête est dans le journal"),
        ("No window to test yet: 1 request of 1 distinct group waits, 50 groups are needed.", "1 requête de 1 groupe distinct attend"),
        ("0 of 1 window of this watch drifted; drift is not confirmed (by 2 of 3 consecutive windows).", "0 fenêtre sur 1"),
    ],
)
def test_one_of_a_kind_is_said_in_the_singular(english: str, french: str) -> None:
    translator = Translator("fr")
    assert french in translator(english)
    assert translator.missing == []
