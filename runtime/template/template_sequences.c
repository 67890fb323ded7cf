/* Filters on lists and dicts. */
#include "runtime/template/template_value.h"

#include <string.h>

/* ---- attributes by a dotted path ----------------------------------------------------------- */

static rt_template_value at_path(rt_template_eval *ev, rt_template_value item,
                                 rt_template_value path) {
    if (path.kind != RT_TEMPLATE_STRING) return rt_template_item(ev, item, path);
    gguf_str rest = path.as.str;
    while (!ev->code) {
        size_t dot = rt_template_find_str(rest, gguf_str_of("."), 0);
        gguf_str part = {rest.ptr, dot == SIZE_MAX ? rest.len : dot};
        int64_t index = 0;
        bool digits = part.len > 0 && part.len < 10;
        for (size_t i = 0; i < part.len && digits; i++) {
            digits = part.ptr[i] >= '0' && part.ptr[i] <= '9';
            index = index * 10 + part.ptr[i] - '0';
        }
        item = rt_template_item(ev, item, digits ? rt_template_int(index) : rt_template_str(part));
        if (dot == SIZE_MAX) break;
        rest = (gguf_str){rest.ptr + dot + 1, rest.len - dot - 1};
    }
    return item;
}

static rt_template_value key_of(rt_template_eval *ev, rt_template_value item,
                                rt_template_value path, bool case_sensitive) {
    rt_template_value key = rt_template_given(path) ? at_path(ev, item, path) : item;
    if (!case_sensitive && key.kind == RT_TEMPLATE_STRING)
        return rt_template_str(rt_template_change_case(ev, key.as.str, RT_TEMPLATE_LOWER));
    return key;
}

/* ---- parts ------------------------------------------------------------------------------- */

static rt_template_value f_length(rt_template_eval *ev, rt_template_value self,
                                  const rt_template_args *args) {
    (void)args;
    return rt_template_int((int64_t)rt_template_length(ev, self));
}

static rt_template_value f_first(rt_template_eval *ev, rt_template_value self,
                                 const rt_template_args *args) {
    (void)args;
    rt_template_list items = rt_template_items(ev, self);
    return items.n ? items.items[0] : rt_template_undefined(gguf_str_of("first of nothing"));
}

static rt_template_value f_last(rt_template_eval *ev, rt_template_value self,
                                const rt_template_args *args) {
    (void)args;
    rt_template_list items = rt_template_items(ev, self);
    return items.n ? items.items[items.n - 1]
                   : rt_template_undefined(gguf_str_of("last of nothing"));
}

static rt_template_value f_join(rt_template_eval *ev, rt_template_value self,
                                const rt_template_args *args) {
    gguf_dynbuf buf;
    gguf_str between = rt_template_to_str(ev, args->argv[0]);
    rt_template_list items = rt_template_items(ev, self);
    rt_template_buf_init(ev, &buf);
    for (size_t i = 0; i < items.n && rt_template_step(ev, 1); i++) {
        rt_template_value item = rt_template_given(args->argv[1])
                                     ? at_path(ev, items.items[i], args->argv[1])
                                     : items.items[i];
        if (i) gguf_dynbuf_put(&buf, between.ptr, between.len);
        rt_template_put_str(ev, &buf, item);
    }
    return rt_template_taken(ev, &buf);
}

static rt_template_value copied(rt_template_eval *ev, rt_template_kind kind,
                                rt_template_list items) {
    rt_template_value out = rt_template_list_new(ev, kind);
    for (size_t i = 0; i < items.n && !ev->code; i++) rt_template_push(ev, out, items.items[i]);
    return out;
}

static rt_template_value f_list(rt_template_eval *ev, rt_template_value self,
                                const rt_template_args *args) {
    (void)args;
    return copied(ev, RT_TEMPLATE_LIST, rt_template_items(ev, self));
}

static rt_template_value f_reverse(rt_template_eval *ev, rt_template_value self,
                                   const rt_template_args *args) {
    const rt_template_value parts[3] = {rt_template_none(), rt_template_none(),
                                        rt_template_int(-1)};
    (void)args;
    if (self.kind == RT_TEMPLATE_STRING) return rt_template_slice(ev, self, parts);
    rt_template_value items = copied(ev, RT_TEMPLATE_LIST, rt_template_items(ev, self));
    return ev->code ? items
                    : copied(ev, RT_TEMPLATE_ITER, *rt_template_slice(ev, items, parts).as.list);
}

static rt_template_value f_items(rt_template_eval *ev, rt_template_value self,
                                 const rt_template_args *args) {
    rt_template_value out = rt_template_list_new(ev, RT_TEMPLATE_ITER);
    (void)args;
    if (self.kind == RT_TEMPLATE_UNDEFINED || ev->code) return out;
    if (self.kind != RT_TEMPLATE_DICT)
        rt_template_raise(ev, GGUF_E_FORMAT, "items of %s", rt_template_kind_name(self));
    for (size_t i = 0; !ev->code && i < self.as.dict->n; i++)
        rt_template_push(
            ev, out,
            rt_template_pair(ev, self.as.dict->entries[i].key, self.as.dict->entries[i].value));
    return out;
}

static rt_template_value f_batch(rt_template_eval *ev, rt_template_value self,
                                 const rt_template_args *args) {
    int64_t n = rt_template_int_arg(ev, args->argv[0], 1);
    rt_template_list items = rt_template_items(ev, self);
    rt_template_value out = rt_template_list_new(ev, RT_TEMPLATE_ITER), row = rt_template_none();
    for (size_t i = 0; i < items.n && !ev->code; i++) {
        if (row.kind == RT_TEMPLATE_NONE || (int64_t)row.as.list->n == n) {
            row = rt_template_list_new(ev, RT_TEMPLATE_LIST);
            rt_template_push(ev, out, row);
        }
        if (!ev->code) rt_template_push(ev, row, items.items[i]);
    }
    while (rt_template_given(args->argv[1]) && row.kind == RT_TEMPLATE_LIST && !ev->code &&
           (int64_t)row.as.list->n < n)
        rt_template_push(ev, row, args->argv[1]);
    return out;
}

/* So many lists of about equal length; fill_with makes up for the shorter ones. */
static rt_template_value f_slice(rt_template_eval *ev, rt_template_value self,
                                 const rt_template_args *args) {
    int64_t n = rt_template_int_arg(ev, args->argv[0], 1);
    rt_template_list items = rt_template_items(ev, self);
    rt_template_value out = rt_template_list_new(ev, RT_TEMPLATE_ITER);
    if (n == 0) rt_template_raise(ev, GGUF_E_FORMAT, "division by zero");
    size_t each = n > 0 ? items.n / (size_t)n : 0, more = n > 0 ? items.n % (size_t)n : 0, at = 0;
    for (int64_t i = 0; i < n && rt_template_step(ev, 1); i++) {
        bool longer = (size_t)i < more;
        rt_template_value row = rt_template_list_new(ev, RT_TEMPLATE_LIST);
        for (size_t k = 0; k < each + longer && !ev->code; k++)
            rt_template_push(ev, row, items.items[at++]);
        if (!longer && rt_template_given(args->argv[1])) rt_template_push(ev, row, args->argv[1]);
        rt_template_push(ev, out, row);
    }
    return out;
}

/* ---- order ------------------------------------------------------------------------------- */

typedef struct keyed {
    rt_template_value key, item;
} keyed;

/* A stable merge sort, so that failures of the comparison do no harm. */
static void sort_keyed(rt_template_eval *ev, keyed *a, keyed *scratch, size_t n, bool reverse) {
    if (n < 2 || !rt_template_step(ev, n)) return;
    size_t half = n / 2, i = 0, j = half, k = 0;
    sort_keyed(ev, a, scratch, half, reverse);
    sort_keyed(ev, a + half, scratch, n - half, reverse);
    while (i < half && j < n) {
        int order = rt_template_order(ev, a[i].key, a[j].key);
        bool right = reverse ? order < 0 : order > 0;
        scratch[k++] = right ? a[j++] : a[i++];
    }
    while (i < half) scratch[k++] = a[i++];
    while (j < n) scratch[k++] = a[j++];
    memcpy(a, scratch, n * sizeof *a);
}

static rt_template_value sorted_by(rt_template_eval *ev, rt_template_list items,
                                   const rt_template_value *keys, bool reverse) {
    keyed *rows = rt_template_new(ev, (items.n + 1) * sizeof *rows);
    keyed *scratch = rt_template_new(ev, (items.n + 1) * sizeof *rows);
    rt_template_value out = rt_template_list_new(ev, RT_TEMPLATE_LIST);
    if (ev->code) return out;
    for (size_t i = 0; i < items.n; i++) rows[i] = (keyed){keys[i], items.items[i]};
    sort_keyed(ev, rows, scratch, items.n, reverse);
    for (size_t i = 0; i < items.n; i++) rt_template_push(ev, out, rows[i].item);
    return out;
}

static rt_template_value f_sort(rt_template_eval *ev, rt_template_value self,
                                const rt_template_args *args) {
    rt_template_list items = rt_template_items(ev, self);
    rt_template_value *keys = rt_template_new(ev, (items.n + 1) * sizeof *keys);
    for (size_t i = 0; keys && i < items.n; i++)
        keys[i] = key_of(ev, items.items[i], args->argv[2], rt_template_truth(args->argv[1]));
    return ev->code ? rt_template_none()
                    : sorted_by(ev, items, keys, rt_template_truth(args->argv[0]));
}

static rt_template_value f_dictsort(rt_template_eval *ev, rt_template_value self,
                                    const rt_template_args *args) {
    rt_template_value pairs = f_items(ev, self, args);
    bool by_value =
        args->argv[1].kind == RT_TEMPLATE_STRING && gguf_str_eq(args->argv[1].as.str, "value");
    if (ev->code) return rt_template_none();
    rt_template_list items = *pairs.as.list;
    rt_template_value *keys = rt_template_new(ev, (items.n + 1) * sizeof *keys);
    for (size_t i = 0; keys && i < items.n; i++)
        keys[i] =
            key_of(ev, items.items[i], rt_template_int(by_value), rt_template_truth(args->argv[0]));
    return ev->code ? rt_template_none()
                    : sorted_by(ev, items, keys, rt_template_truth(args->argv[2]));
}

static rt_template_value f_unique(rt_template_eval *ev, rt_template_value self,
                                  const rt_template_args *args) {
    rt_template_list items = rt_template_items(ev, self);
    rt_template_value out = rt_template_list_new(ev, RT_TEMPLATE_ITER),
                      seen = rt_template_dict_new(ev);
    for (size_t i = 0; i < items.n && !ev->code; i++) {
        rt_template_value key =
            key_of(ev, items.items[i], args->argv[1], rt_template_truth(args->argv[0]));
        if (rt_template_get(ev, seen.as.dict, key)) continue;
        rt_template_put(ev, seen.as.dict, key, rt_template_none());
        rt_template_push(ev, out, items.items[i]);
    }
    return out;
}

static rt_template_value extreme(rt_template_eval *ev, rt_template_value self,
                                 const rt_template_args *args, int sign) {
    rt_template_list items = rt_template_items(ev, self);
    rt_template_value best = rt_template_undefined(gguf_str_of("extreme of nothing")),
                      best_key = best;
    for (size_t i = 0; i < items.n && rt_template_step(ev, 1); i++) {
        rt_template_value key =
            key_of(ev, items.items[i], args->argv[1], rt_template_truth(args->argv[0]));
        if (i && (ev->code || rt_template_order(ev, key, best_key) * sign <= 0)) continue;
        best = items.items[i];
        best_key = key;
    }
    return best;
}

static rt_template_value f_min(rt_template_eval *ev, rt_template_value self,
                               const rt_template_args *args) {
    return extreme(ev, self, args, -1);
}

static rt_template_value f_max(rt_template_eval *ev, rt_template_value self,
                               const rt_template_args *args) {
    return extreme(ev, self, args, 1);
}

static rt_template_value f_sum(rt_template_eval *ev, rt_template_value self,
                               const rt_template_args *args) {
    rt_template_value out =
        args->argv[1].kind == RT_TEMPLATE_MISSING ? rt_template_int(0) : args->argv[1];
    rt_template_list items = rt_template_items(ev, self);
    for (size_t i = 0; i < items.n && rt_template_step(ev, 1); i++)
        out = rt_template_binary(ev, RT_TPL_OP_ADD, out,
                                 key_of(ev, items.items[i], args->argv[0], true));
    return out;
}

static rt_template_value f_groupby(rt_template_eval *ev, rt_template_value self,
                                   const rt_template_args *args) {
    rt_template_args by = {.argv = {rt_template_bool(false), args->argv[2], args->argv[0]}};
    rt_template_value items = f_sort(ev, self, &by),
                      out = rt_template_list_new(ev, RT_TEMPLATE_LIST), group = rt_template_none();
    for (size_t i = 0; !ev->code && i < items.as.list->n; i++) {
        rt_template_value item = items.as.list->items[i];
        rt_template_value key = at_path(ev, item, args->argv[0]);
        if (key.kind == RT_TEMPLATE_UNDEFINED && args->argv[1].kind != RT_TEMPLATE_MISSING)
            key = args->argv[1];
        if (group.kind == RT_TEMPLATE_NONE ||
            !rt_template_equal(ev, out.as.list->items[out.as.list->n - 1].as.list->items[0], key)) {
            group = rt_template_list_new(ev, RT_TEMPLATE_LIST);
            rt_template_push(ev, out, rt_template_pair(ev, key, group));
        }
        rt_template_push(ev, group, item);
    }
    return out;
}

/* ---- map and select ---------------------------------------------------------------------- */

/* The arguments behind the first n. */
static rt_template_args behind(const rt_template_args *args, size_t n) {
    rt_template_args out = {.named = args->named};
    if (args->n > n) out.pos = args->pos + n;
    out.n = args->n > n ? args->n - n : 0;
    return out;
}

/* As in Jinja, what counts as false has no items: none too. */
static rt_template_list items_if_any(rt_template_eval *ev, rt_template_value v) {
    return rt_template_truth(v) ? rt_template_items(ev, v) : (rt_template_list){0};
}

static rt_template_value f_map(rt_template_eval *ev, rt_template_value self,
                               const rt_template_args *args) {
    rt_template_list items = items_if_any(ev, self);
    rt_template_value out = rt_template_list_new(ev, RT_TEMPLATE_ITER);
    const rt_template_value *path =
        args->named ? rt_template_get_str(args->named, gguf_str_of("attribute")) : NULL;
    const rt_template_value *otherwise =
        path ? rt_template_get_str(args->named, gguf_str_of("default")) : NULL;
    rt_template_args rest = behind(args, 1);
    if (!path && !args->n)
        rt_template_raise(ev, GGUF_E_FORMAT, "'map' needs a filter or an attribute");
    gguf_str name =
        path || ev->code ? gguf_str_of("") : rt_template_as_str(ev, args->pos[0], "map");
    for (size_t i = 0; i < items.n && rt_template_step(ev, 1); i++) {
        rt_template_value item = path ? at_path(ev, items.items[i], *path)
                                      : rt_template_filter(ev, name, items.items[i], &rest);
        if (item.kind == RT_TEMPLATE_UNDEFINED && otherwise) item = *otherwise;
        rt_template_push(ev, out, item);
    }
    return out;
}

/* Keep the items, or those with an attribute, for which a test gives `wanted`. */
static rt_template_value chosen(rt_template_eval *ev, rt_template_value self,
                                const rt_template_args *args, bool by_attribute, bool wanted) {
    rt_template_list items = items_if_any(ev, self);
    rt_template_value out = rt_template_list_new(ev, RT_TEMPLATE_ITER);
    size_t skip = by_attribute;
    rt_template_args rest = behind(args, skip + 1);
    if (args->n < skip) rt_template_raise(ev, GGUF_E_FORMAT, "an attribute is missing");
    gguf_str test =
        args->n > skip ? rt_template_as_str(ev, args->pos[skip], "a test") : gguf_str_of("");
    for (size_t i = 0; i < items.n && rt_template_step(ev, 1); i++) {
        rt_template_value v =
            by_attribute ? at_path(ev, items.items[i], args->pos[0]) : items.items[i];
        bool holds = args->n > skip ? rt_template_test(ev, test, v, &rest) : rt_template_truth(v);
        if (holds == wanted) rt_template_push(ev, out, items.items[i]);
    }
    return out;
}

static rt_template_value f_select(rt_template_eval *ev, rt_template_value self,
                                  const rt_template_args *args) {
    return chosen(ev, self, args, false, true);
}

static rt_template_value f_reject(rt_template_eval *ev, rt_template_value self,
                                  const rt_template_args *args) {
    return chosen(ev, self, args, false, false);
}

static rt_template_value f_selectattr(rt_template_eval *ev, rt_template_value self,
                                      const rt_template_args *args) {
    return chosen(ev, self, args, true, true);
}

static rt_template_value f_rejectattr(rt_template_eval *ev, rt_template_value self,
                                      const rt_template_args *args) {
    return chosen(ev, self, args, true, false);
}

static rt_template_value f_attr(rt_template_eval *ev, rt_template_value self,
                                const rt_template_args *args) {
    gguf_str name = rt_template_as_str(ev, args->argv[0], "attr");
    if (ev->code || self.kind == RT_TEMPLATE_DICT) return rt_template_undefined(name);
    return rt_template_attribute(ev, self, name);
}

const rt_template_function rt_template_list_filters[] = {
    {"length", "", 0, f_length},
    {"count", "", 0, f_length},
    {"first", "", 0, f_first},
    {"last", "", 0, f_last},
    {"join", "d,attribute", 0, f_join},
    {"list", "", 0, f_list},
    {"reverse", "", 0, f_reverse},
    {"items", "", 0, f_items},
    {"batch", "linecount,fill_with", 1, f_batch},
    {"slice", "slices,fill_with", 1, f_slice},
    {"sort", "reverse,case_sensitive,attribute", 0, f_sort},
    {"dictsort", "case_sensitive,by,reverse", 0, f_dictsort},
    {"unique", "case_sensitive,attribute", 0, f_unique},
    {"min", "case_sensitive,attribute", 0, f_min},
    {"max", "case_sensitive,attribute", 0, f_max},
    {"sum", "attribute,start", 0, f_sum},
    {"groupby", "attribute,default,case_sensitive", 1, f_groupby},
    {"map", "*", 0, f_map},
    {"select", "*", 0, f_select},
    {"reject", "*", 0, f_reject},
    {"selectattr", "*", 0, f_selectattr},
    {"rejectattr", "*", 0, f_rejectattr},
    {"attr", "name", 1, f_attr},
    {0},
};
