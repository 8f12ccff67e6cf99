/** The inputs of a run. Each source is read on first use and once only. */
import type { PreferenceRecord } from '../data/preferences.js';
import type { Loaded } from '../data/prompts.js';
import type { DemonstrationRecord, PromptRecord } from '../data/records.js';
import type { Question } from '../evaluate/task.js';
import type { LanguageModel } from '../lm/language-model.js';
import { chooseDemonstrations, readPrompts } from './data.js';
import { chooseQuestions } from './questions.js';
import { rankedPreferences } from './ranking-check.js';
import type { Recipe } from './recipe.js';
import { choosePreferences } from './stages/given-pairs.js';

/** The prompts, demonstrations, questions and given pairs of a recipe. */
export class RunInputs {
  #prompts: Promise<Loaded<PromptRecord>> | undefined;
  #demonstrations: Promise<Loaded<DemonstrationRecord>> | undefined;
  #questions: Promise<Question[]> | undefined;
  #preferences: Promise<Loaded<PreferenceRecord>> | undefined;
  #rated: Promise<Loaded<PreferenceRecord> | undefined> | undefined;

  /** With a model, `on_bad_row: skip` also leaves out rows that are longer than its context. */
  constructor(
    private readonly recipe: Recipe,
    private readonly policy: () => Promise<LanguageModel | undefined> = async () => undefined,
  ) {}

  /** The whole source from which the iterations take their prompts. */
  prompts(): Promise<Loaded<PromptRecord>> {
    return (this.#prompts ??= this.policy().then((policy) => readPrompts(this.recipe, policy)));
  }

  demonstrations(): Promise<Loaded<DemonstrationRecord>> {
    return (this.#demonstrations ??= this.policy().then((policy) =>
      chooseDemonstrations(this.recipe, policy),
    ));
  }

  /** The questions of all tasks; they are the same for every model of a run. */
  questions(): Promise<Question[]> {
    return (this.#questions ??= chooseQuestions(this.recipe));
  }

  preferences(): Promise<Loaded<PreferenceRecord>> {
    return (this.#preferences ??= this.policy().then((policy) =>
      choosePreferences(this.recipe, policy),
    ));
  }

  /** The pairs of `rank_eval`; undefined without such a check. */
  rated(): Promise<Loaded<PreferenceRecord> | undefined> {
    return (this.#rated ??= this.policy().then((policy) => rankedPreferences(this.recipe, policy)));
  }
}
