/* Prices of a book: a trie of bitmaps.
 *
 *     root       64 children, a bit each                        one node covers 16 * 64^height
 * prices └ node    64 children └ leaf 16 prices, a bit and a queue (head, tail, sum) each
 *
 * It is as high as the highest price asks, so no price is too large and none needs a declared range
 * or tick. Empty parts do not exist. The next price above or below is found in the leaf's own bits
 * mostly, else a step up and one down; never by looking at prices that nobody uses.
 *
 * Bids are all below asks, so both sides live in one trie, and whoever looks for the next bid looks
 * down from the best one. A book also has a table of leaves by page, 128 of them, which is only a
 * hint: a leaf knows its book and page, so a stale hint is seen.
 *
 * Refused: an array over a window of prices with a tree for the rest, which needs moving whenever
 * the market moves and two ways through everything; a balanced tree of prices, which misses the
 * cache log n times. */
#include "book_priv.h"

static uint32_t
fan_of(uint64_t page, uint32_t level)
{
    return (uint32_t)(page >> (FAN_BITS * level)) & (FAN - 1);
}

static uint32_t
take_node(struct syn_books *books, uint32_t parent)
{
    uint32_t at = books->node_free;

    assert(at != NONE);
    books->node_free = books->nodes[at].parent;
    books->node_spare--;
    books->nodes[at].parent = parent;
    syn_book_spent(books);
    return at;
}

static uint32_t
take_leaf(struct syn_books *books, uint32_t book, uint64_t page, uint32_t parent)
{
    uint32_t at = books->leaf_free;

    assert(at != NONE);
    books->leaf_free = books->leaves[at].parent;
    books->leaf_spare--;
    books->leaves[at] = (struct book_leaf){.page = page, .book = book, .parent = parent};
    syn_book_spent(books);
    return at;
}

static void
set_child(struct syn_books *books, uint32_t node, uint32_t i, uint32_t child)
{
    books->nodes[node].child[i] = child;
    books->nodes[node].bits |= UINT64_C(1) << i;
}

/* Make the trie of `book` cover `page`. */
static void
raise_root(struct syn_books *books, struct book *book, uint64_t page)
{
    if (book->root == NONE) {
        book->root = take_node(books, NONE);
        book->height = 1;
        while (page >> (FAN_BITS * book->height) != 0)
            book->height++;
        return;
    }
    while (page >> (FAN_BITS * book->height) != 0) {
        uint32_t root = take_node(books, NONE);

        set_child(books, root, 0, book->root);
        books->nodes[book->root].parent = root;
        book->root = root;
        book->height++;
    }
}

uint32_t
syn_book_leaf(struct syn_books *books, uint32_t book_index, uint64_t page)
{
    struct book *book = &books->books[book_index];
    uint32_t at, leaf;

    raise_root(books, book, page);
    at = book->root;
    for (uint32_t level = book->height - 1; level > 0; level--) {
        uint32_t i = fan_of(page, level), child = books->nodes[at].child[i];

        if (child == NONE) {
            child = take_node(books, at);
            set_child(books, at, i, child);
        }
        at = child;
    }
    leaf = books->nodes[at].child[fan_of(page, 0)];
    if (leaf == NONE) {
        leaf = take_leaf(books, book_index, page, at);
        set_child(books, at, fan_of(page, 0), leaf);
    }
    books->hints[(size_t)book_index * HINTS + page % HINTS] = leaf;
    return leaf;
}

void
syn_book_leaf_drop(struct syn_books *books, uint32_t leaf)
{
    struct book_leaf *gone = &books->leaves[leaf];
    struct book *book = &books->books[gone->book];
    uint32_t at = gone->parent;
    uint32_t level = 0;

    assert(gone->bits == 0);
    for (;;) {
        struct book_node *node = &books->nodes[at];
        uint32_t i = fan_of(gone->page, level), up = node->parent;

        node->child[i] = NONE;
        node->bits &= ~(UINT64_C(1) << i);
        if (node->bits != 0)
            break;
        node->parent = books->node_free;
        books->node_free = at;
        books->node_spare++;
        if (up == NONE) {
            book->root = NONE;
            book->height = 0;
            break;
        }
        at = up;
        level++;
    }
    gone->book = UINT32_MAX;
    gone->parent = books->leaf_free;
    books->leaf_free = leaf;
    books->leaf_spare++;
}

static uint32_t
first_bit(uint64_t bits, bool up)
{
    return up ? (uint32_t)__builtin_ctzll(bits) : 63 - (uint32_t)__builtin_clzll(bits);
}

/* The bits beyond bit `i`. */
static uint64_t
beyond(uint64_t bits, uint32_t i, bool up)
{
    return up ? bits & ~UINT64_C(1) << i : bits & ((UINT64_C(1) << i) - 1);
}

uint32_t
syn_book_level_next(const struct syn_books *books, uint32_t level_at, bool up)
{
    uint32_t leaf = level_at >> LEAF_BITS;
    uint64_t page = books->leaves[leaf].page;
    uint64_t bits = beyond(books->leaves[leaf].bits, level_at & LEAF_MASK, up);
    uint32_t level = 0;

    if (bits != 0)
        return leaf << LEAF_BITS | first_bit(bits, up);
    for (uint32_t at = books->leaves[leaf].parent; at != NONE; at = books->nodes[at].parent) {
        bits = beyond(books->nodes[at].bits, fan_of(page, level), up);
        if (bits == 0) {
            level++;
            continue;
        }
        leaf = books->nodes[at].child[first_bit(bits, up)];
        for (; level > 0; level--)
            leaf = books->nodes[leaf].child[first_bit(books->nodes[leaf].bits, up)];
        return leaf << LEAF_BITS | first_bit(books->leaves[leaf].bits, up);
    }
    return NONE;
}
