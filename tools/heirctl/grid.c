/* SPDX-License-Identifier: MIT */
/*
 * Aligned tables: collect the cells row by row, then print every column as wide as its widest cell, two spaces between
 * them and none at the end of a line. Cells are taken as one column a byte: what is printed here are names, numbers and
 * states.
 */
#include "heirctl.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct grid {
    const char *const *titles;
    size_t columns, cells, room;
    struct cell {
        char *text;
        enum colour colour;
    } * cell; /* row by row */
};

struct grid *grid_new(const char *const *titles)
{
    struct grid *grid = must_alloc(sizeof *grid);
    *grid = (struct grid){.titles = titles};
    while (titles[grid->columns] != NULL)
        grid->columns++;
    return grid;
}

void grid_add_coloured(struct grid *grid, const char *text, enum colour colour)
{
    if (grid->cells == grid->room) {
        grid->room = grid->room * 2 + grid->columns;
        grid->cell = must_resize(grid->cell, grid->room * sizeof *grid->cell);
    }
    size_t size = strlen(text) + 1;
    struct cell *cell = &grid->cell[grid->cells++];
    *cell = (struct cell){must_alloc(size), colour};
    memcpy(cell->text, text, size);
}

void grid_add(struct grid *grid, const char *text)
{
    grid_add_coloured(grid, text, PLAIN);
}

void grid_add_number(struct grid *grid, uint64_t number)
{
    char text[TEXT_MAX];
    snprintf(text, sizeof text, "%" PRIu64, number);
    grid_add(grid, text);
}

static bool is_number(const char *title)
{
    return title[0] == '>';
}

static const char *title_of(const struct grid *grid, size_t column)
{
    return grid->titles[column] + is_number(grid->titles[column]);
}

static void print_cell(const struct grid *grid, size_t column, const char *text, int width, enum colour colour)
{
    colour_begin(colour);
    if (is_number(grid->titles[column]))
        printf("%*s", width, text);
    else if (column + 1 < grid->columns)
        printf("%-*s", width, text);
    else
        printf("%s", text);
    colour_end(colour);
    printf("%s", column + 1 < grid->columns ? "  " : "\n");
}

void grid_print(const struct grid *grid)
{
    int *widths = must_alloc(grid->columns * sizeof *widths);
    for (size_t column = 0; column < grid->columns; column++)
        widths[column] = (int)strlen(title_of(grid, column));
    for (size_t i = 0; i < grid->cells; i++) {
        int width = (int)strlen(grid->cell[i].text);
        if (width > widths[i % grid->columns])
            widths[i % grid->columns] = width;
    }
    for (size_t column = 0; column < grid->columns; column++)
        print_cell(grid, column, title_of(grid, column), widths[column], BOLD);
    for (size_t i = 0; i < grid->cells; i++)
        print_cell(grid, i % grid->columns, grid->cell[i].text, widths[i % grid->columns], grid->cell[i].colour);
    free(widths);
}

void grid_free(struct grid *grid)
{
    if (grid == NULL)
        return;
    for (size_t i = 0; i < grid->cells; i++)
        free(grid->cell[i].text);
    free(grid->cell);
    free(grid);
}
