//! Mistakes in `[[routes]]`, between routes, and between routes and plans.

use super::check;

#[test]
fn paths_and_names_are_checked() {
    check(&[
        ("[[routes]]\nname = \"x\"", &["1:1: this route has no `path`"]),
        ("[[routes]]\npath = \"events\"", &["2:8: `events` is no path: it must begin with `/`"]),
        (
            "[[routes]]\npath = \"/%65vents\"",
            &["2:8: `/%65vents` would never match: requests arrive in the form `/events`; write that"],
        ),
        ("[[routes]]\npath = \"/a/*/b\"", &["2:8: `/a/*/b`: `*` may only stand alone behind the last slash"]),
        (
            "[[routes]]\npath = \"/a;b\"",
            &["2:8: requests with `;` are refused here; add path_params = \"keep\" to this route"],
        ),
        (
            "[[routes]]\npath = \"/a%2Fb\"",
            &["2:8: requests with `%2F` are refused here; add encoded_slash = \"keep\" to this route"],
        ),
        (
            "[[routes]]\npath = \"/a\"\nname = \"a b\"",
            &["3:8: `a b` is not a name: up to 64 letters, digits, `-`, `_`, `.` and `/`"],
        ),
        (
            "[[routes]]\npath = \"/a\"\nname = \"unmatched\"",
            &["3:8: `unmatched` is the name of what no route matches; choose another"],
        ),
    ]);
}

#[test]
fn conditions_are_checked() {
    check(&[
        (
            "[[routes]]\npath = \"/a\"\nmethods = [\"get\", \"TRACE\"]",
            &[
                "3:12: `get` is not a method that is let through: one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS; did you mean \"GET\"?",
                "3:19: `TRACE` is not a method that is let through: one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
            ],
        ),
        (
            "[[routes]]\npath = \"/a\"\nmethods = []",
            &["3:11: an empty list matches no method; leave `methods` out to match every one"],
        ),
        (
            "[[routes]]\npath = \"/a\"\nheaders = { \"a b\" = \"1\", x = 2, Y = \"1\", y = \"2\" }",
            &[
                "3:21: this is not the name of a header: letters, digits and `-`, such as \"x-api-key\"",
                "3:30: `x` must be true or false, not an integer",
                "3:42: the header `y` stands here twice",
            ],
        ),
        (
            "[[routes]]\npath = \"/a\"\nquery = { x = false }",
            &["3:15: write true for \"is there\", or the exact value in quotes"],
        ),
    ]);
}

#[test]
fn who_may_call_is_checked() {
    check(&[
        (
            "[[routes]]\npath = \"/a\"\naccess = \"pubic\"",
            &[
                "3:10: `pubic` is not one of \"key\", \"public\", \"optional\", \"pass\", \"jwt\"; did you mean \"public\"?",
            ],
        ),
        (
            "[[routes]]\npath = \"/a\"\nmin_plan = \"por\"\n[plans.pro]",
            &["3:12: there is no plan \"por\"; did you mean \"pro\"?"],
        ),
        (
            "[[routes]]\npath = \"/a\"\nmin_plan = \"gold\"\n[plans.pro]\n[plans.team]",
            &["3:12: there is no plan \"gold\"; there are pro, team"],
        ),
        (
            "[[routes]]\npath = \"/a\"\nmin_plan = \"free\"\n[plans.free]\napi = false",
            &["3:12: the plan `free` on line 4 has no API access (`api = false`)"],
        ),
        (
            "[[routes]]\npath = \"/a\"\nmin_plan = \"public\"\n[plans.public]",
            &["3:12: `public` is the plan of anonymous callers; no account can have it"],
        ),
        (
            "[[routes]]\npath = \"/a\"\nfeature = \"lmm\"\n[plans.pro]\nfeatures = [\"llm\"]",
            &["3:11: warning: no plan has the feature \"lmm\": nobody can call this route; did you mean \"llm\"?"],
        ),
    ]);
}

#[test]
fn what_calls_cost_and_carry_is_checked() {
    check(&[
        (
            "[[routes]]\npath = \"/a\"\ncost = 1\ncost_max = 2",
            &["4:1: `cost_max` contradicts `cost` on line 3; keep one"],
        ),
        (
            "[[routes]]\npath = \"/a\"\ncost_max = 0",
            &["3:12: `cost_max` must be a whole number from 1 to 9007199254740992"],
        ),
        (
            "[[routes]]\npath = \"/a\"\nmax_body = \"big\"",
            &["3:12: `big` is not a size: a whole number and B, KB, MB, GB, KiB, MiB or GiB, such as \"64KiB\""],
        ),
        (
            "[[routes]]\npath = \"/a\"\nencoded_slash = true\npath_params = \"allow\"",
            &[
                "3:17: `encoded_slash` must be a text in quotes, not a boolean",
                "4:15: `allow` is not one of \"refuse\", \"keep\"",
            ],
        ),
    ]);
}

#[test]
fn keys_that_contradict_the_access_are_errors() {
    check(&[
        (
            "[[routes]]\npath = \"/a\"\naccess = \"public\"\nmin_plan = \"pro\"\nfeature = \"llm\"\ncost_max = 3\n[plans.pro]\nfeatures = [\"llm\"]\n[plans.public]",
            &[
                "4:1: `min_plan` contradicts access = \"public\": anyone may call it; write access = \"optional\" or \"key\"",
                "5:1: `feature` contradicts access = \"public\": anyone may call it; write access = \"optional\" or \"key\"",
                "6:1: `cost_max` contradicts access = \"public\": an anonymous caller has no quota that an answer could settle",
            ],
        ),
        (
            "[[routes]]\npath = \"/a\"\naccess = \"pass\"\ncost = 5",
            &["4:1: `cost` contradicts access = \"pass\": what passes straight through is neither checked nor counted"],
        ),
        (
            "[[routes]]\npath = \"/a\"\naccess = \"optional\"",
            &["2:8: warning: anonymous callers are not limited: there is no [plans.public]"],
        ),
        (
            "[[routes]]\npath = \"/tollgate/v1/*\"",
            &["2:8: warning: `gateway.mount` takes every path under /tollgate; this route is never asked"],
        ),
    ]);
}

#[test]
fn routes_are_checked_against_each_other() {
    check(&[
        (
            "[[routes]]\npath = \"/a\"\n[[routes]]\npath = \"/a\"",
            &["4:8: duplicate route: the route on line 2 matches exactly the same"],
        ),
        (
            "[[routes]]\npath = \"/a\"\nname = \"a\"\n[[routes]]\npath = \"/a\"\nname = \"a\"",
            &["5:8: duplicate route: the route on line 2 matches exactly the same"],
        ),
        (
            "[[routes]]\npath = \"/a\"\nname = \"n\"\n[[routes]]\npath = \"/b\"\nname = \"n\"",
            &["6:8: the route on line 3 has the name `n` already"],
        ),
        (
            "[[routes]]\npath = \"/a/*\"\n[[routes]]\npath = \"/a/{id}\"\n[[routes]]\npath = \"/a\"\n[[routes]]\npath = \"/a/b/*\"",
            &[
                "4:8: this route can never match: `/a/*` on line 2 comes first; move this one up",
                "8:8: this route can never match: `/a/*` on line 2 comes first; move this one up",
            ],
        ),
        (
            "[[routes]]\npath = \"/a/{id}\"\n[[routes]]\npath = \"/a/\"\n[[routes]]\npath = \"/a/{id}/*\"\n[[routes]]\npath = \"/{x}/b\"",
            &[],
        ),
        (
            "[[routes]]\npath = \"/*\"\n[[routes]]\npath = \"/\"",
            &["4:8: this route can never match: `/*` on line 2 comes first; move this one up"],
        ),
        (
            "[[routes]]\npath = \"/a\"\nmethods = [\"GET\"]\n[[routes]]\npath = \"/{x}\"\nmethods = [\"POST\", \"PUT\"]\n[[routes]]\npath = \"/a\"\nmethods = [\"HEAD\", \"POST\"]\n[[routes]]\npath = \"/a\"\nmethods = [\"PATCH\", \"POST\"]",
            &["8:8: this route can never match: `/a` on line 2 and `/{x}` on line 5 come first; move this one up"],
        ),
        (
            "[[routes]]\npath = \"/a\"\nheaders = { X = \"1\" }\n[[routes]]\npath = \"/a\"\nheaders = { x = \"1\", y = true }\n[[routes]]\npath = \"/a\"\nheaders = { x = true }\n[[routes]]\npath = \"/a\"\nheaders = { x = \"2\" }\nquery = { q = \"1\" }",
            &[
                "5:8: this route can never match: `/a` on line 2 comes first; move this one up",
                "11:8: this route can never match: `/a` on line 8 comes first; move this one up",
            ],
        ),
        (
            "[[routes]]\npath = \"/a\"\nquery = { q = \"1\" }\n[[routes]]\npath = \"/a\"\nquery = { q = \"1\" }",
            &["5:8: duplicate route: the route on line 2 matches exactly the same"],
        ),
    ]);
}

#[test]
fn costs_are_checked_against_the_plans_that_may_pay_them() {
    check(&[
        (
            "[[routes]]\npath = \"/a\"\ncost = 100\n[plans.pro]\nrate = \"600/minute\"\nwindows = [\"50/day\", \"1000/30d\"]\nquota = \"90/month\"",
            &[
                "3:8: a cost of 100 is above the burst of 60 of the plan `pro` on line 5, the window of 50/day of the plan `pro` on line 6, the quota of 90/month of the plan `pro` on line 7: every such call would be refused",
            ],
        ),
        (
            "[[routes]]\npath = \"/a\"\ncost_max = 100\n[plans.a]\nquota = \"99/month\"\n[plans.b]\nquota = \"100/month\"\n[plans.c]\nquota = \"0/month\"\n[plans.d]\nquota = \"1/month\"\napi = false\n[plans.public]\nquota = \"1/month\"",
            &[
                "3:12: a cost of 100 is above the quota of 99/month of the plan `a` on line 5: every such call would be refused",
            ],
        ),
        (
            "[[routes]]\npath = \"/a\"\ncost = 20\naccess = \"public\"\n[plans.public]\nrate = \"30/minute\"\n[plans.pro]\nquota = \"1/month\"",
            &[
                "3:8: a cost of 20 is above the burst of 10 of the plan `public` on line 6: every such call would be refused",
            ],
        ),
        (
            "[[routes]]\npath = \"/a\"\ncost = 20\naccess = \"optional\"\nfeature = \"f\"\nmin_plan = \"b\"\n[plans.public]\nquota = \"1/month\"\n[plans.a]\nfeatures = [\"f\"]\nquota = \"1/month\"\n[plans.b]\nrank = 1\nquota = \"1/month\"\n[plans.c]\nrank = 1\nfeatures = [\"f\"]\nquota = \"1/month\"",
            &[
                "3:8: a cost of 20 is above the quota of 1/month of the plan `c` on line 18: every such call would be refused",
            ],
        ),
    ]);
}
